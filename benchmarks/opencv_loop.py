"""SaliencyMix written with OpenCV and NumPy, as a loop over the samples."""

import numpy as np


def opencv_saliency_mix(images, labels, rng, threads):
    """Paste the salient box of a random partner into each image.

    Args:
        images: Uint8 array (batch, height, width, 3), RGB.
        labels: Float array (batch, classes).
        rng: A `numpy.random.Generator`.
        threads: Number of OpenCV's threads, 0 for all.

    Returns:
        Mixed images and labels.
    """
    import cv2

    cv2.setNumThreads(threads if threads else cv2.getNumberOfCPUs())
    detector = cv2.saliency.StaticSaliencyFineGrained_create()
    batch_size, height, width = images.shape[:3]
    partner = rng.permutation(batch_size)
    mixed, mixed_labels = images.copy(), np.empty_like(labels)
    for sample in range(batch_size):
        partner_image = images[partner[sample]]
        _, saliency_map = detector.computeSaliency(np.ascontiguousarray(partner_image[..., ::-1]))
        y, x = np.unravel_index(saliency_map.argmax(), saliency_map.shape)
        side = np.sqrt(1.0 - rng.beta(1.0, 1.0))
        rows, columns = int(height * side), int(width * side)
        top = min(max(y - rows // 2, 0), height - rows)
        left = min(max(x - columns // 2, 0), width - columns)
        box = np.s_[top : top + rows, left : left + columns]
        mixed[sample][box] = partner_image[box]
        weight = 1.0 - rows * columns / (height * width)
        mixed_labels[sample] = weight * labels[sample] + (1.0 - weight) * labels[partner[sample]]
    return mixed, mixed_labels
