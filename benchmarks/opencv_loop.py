"""SaliencyMix as one would write it with OpenCV: a loop over the samples."""

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
    size, height, width = images.shape[:3]
    partner = rng.permutation(size)
    mixed, mixed_labels = images.copy(), np.empty_like(labels)
    for row in range(size):
        donor = images[partner[row]]
        _, saliency_map = detector.computeSaliency(np.ascontiguousarray(donor[..., ::-1]))
        y, x = np.unravel_index(saliency_map.argmax(), saliency_map.shape)
        side = np.sqrt(1.0 - rng.beta(1.0, 1.0))
        rows, columns = int(height * side), int(width * side)
        top = min(max(y - rows // 2, 0), height - rows)
        left = min(max(x - columns // 2, 0), width - columns)
        mixed[row, top : top + rows, left : left + columns] = donor[top : top + rows, left : left + columns]
        share = 1.0 - rows * columns / (height * width)
        mixed_labels[row] = share * labels[row] + (1.0 - share) * labels[partner[row]]
    return mixed, mixed_labels
