"""A small detector without anchors on one feature map, after FCOS (Tian et al., ICCV 2019, arXiv:1904.01355).

Each cell of the map says by sigmoids which classes have an object around its center, and predicts the distances from
its center to the four sides of the object. Cells near the center of an object are positive.
"""

import keras
import numpy as np
from keras import layers, ops

STRIDE = 4
#: Distance from the center of an object, in cells, up to which cells are positive.
RADIUS = 1.0


def detector(backbone, classes, width=48):
    """A model from images to maps (batch, rows, columns, classes + 4): logits, and distances in pixels.

    Args:
        backbone: A model from images to a feature map of stride 4.
        classes: Number of classes.
        width: Channels of the head.
    """
    outputs = []
    for name, channels in (("classes", classes), ("distances", 4)):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}_hidden")(backbone.output)
        x = layers.ReLU()(layers.BatchNormalization(name=f"{name}_norm")(x))
        # A prior of 0.02 for each class, so that the many negative cells do not dominate the first steps.
        bias = keras.initializers.Constant(-4.0 if name == "classes" else 1.0)
        outputs.append(layers.Conv2D(channels, 3, padding="same", bias_initializer=bias, name=name)(x))
    logits, distances = outputs
    return keras.Model(backbone.input, layers.Concatenate()([logits, STRIDE * ops.softplus(distances)]))


def targets(boxes, digits, size, classes):
    """What each cell should predict.

    Args:
        boxes: (images, objects, 4): top, left, bottom and right in pixels.
        digits: Classes (images, objects).
        size: Height and width of the images.
        classes: Number of classes.

    Returns:
        Float32 (images, rows, columns, classes + 4): one-hot classes, 0 in negative cells, and distances.
    """
    centers = STRIDE * (np.arange(size // STRIDE) + 0.5)
    y, x = np.meshgrid(centers, centers, indexing="ij")
    result = np.zeros((len(boxes), *y.shape, classes + 4), "float32")
    for image in range(len(boxes)):
        for (top, left, bottom, right), label in zip(boxes[image], digits[image], strict=True):
            distances = np.stack([y - top, x - left, bottom - y, right - x], -1)
            offsets = np.maximum(np.abs(y - (top + bottom) / 2), np.abs(x - (left + right) / 2))
            positive = (distances.min(-1) > 0) & (offsets <= RADIUS * STRIDE)
            result[image][positive] = np.concatenate(
                [np.tile(np.eye(classes)[label], (positive.sum(), 1)), distances[positive]], -1
            )
    return result


def loss(y_true, y_pred):
    """Focal loss of the classes and 1 - IoU of the boxes of positive cells, both per positive cell."""
    classes = y_true.shape[-1] - 4
    is_class, logits = y_true[..., :classes], y_pred[..., :classes]
    focal = keras.losses.binary_focal_crossentropy(
        is_class[..., None], logits[..., None], apply_class_balancing=True, from_logits=True
    )
    is_positive = ops.max(is_class, axis=-1)
    count = ops.maximum(ops.sum(is_positive), 1.0)
    missed = 1.0 - _iou_of_distances(y_true[..., classes:], y_pred[..., classes:])
    return ops.sum(focal) / count + ops.sum(is_positive * missed) / count


def _iou_of_distances(a, b):
    """IoU of boxes that are given by the distances of one point to their sides."""
    common = ops.minimum(a, b)
    intersection = (common[..., 0] + common[..., 2]) * (common[..., 1] + common[..., 3])
    areas = [(box[..., 0] + box[..., 2]) * (box[..., 1] + box[..., 3]) for box in (a, b)]
    return intersection / ops.maximum(areas[0] + areas[1] - intersection, 1e-6)


def detections(predicted, classes, overlap=0.5, limit=30):
    """The boxes of one image after suppression of those that overlap better ones of their class.

    Args:
        predicted: (rows, columns, classes + 4).
        classes: Number of classes.
        overlap: Largest IoU of two boxes of one class.
        limit: Largest number of boxes of a class that are looked at.

    Returns:
        A list of (class, score, box).
    """
    centers = STRIDE * (np.arange(predicted.shape[0]) + 0.5)
    y, x = np.meshgrid(centers, centers, indexing="ij")
    top, left, bottom, right = np.moveaxis(predicted[..., classes:], -1, 0)
    boxes = np.stack([y - top, x - left, y + bottom, x + right], -1).reshape(-1, 4)
    scores = 1 / (1 + np.exp(-predicted[..., :classes].reshape(-1, classes)))
    kept = []
    for label in range(classes):
        chosen = []
        for index in np.argsort(-scores[:, label])[:limit]:
            if all(iou(boxes[index], boxes[other]) <= overlap for other in chosen):
                chosen.append(index)
        kept += [(label, scores[index, label], boxes[index]) for index in chosen]
    return kept


def iou(a, b):
    """Intersection over union of two boxes (top, left, bottom, right)."""
    height, width = (min(a[axis + 2], b[axis + 2]) - max(a[axis], b[axis]) for axis in (0, 1))
    intersection = max(height, 0.0) * max(width, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return intersection / max(sum(areas) - intersection, 1e-9)


def average_precision(found, boxes, digits, classes, threshold=0.5):
    """The mean over the classes of the area under the curve of precision against recall.

    Args:
        found: For each image, a list of (class, score, box).
        boxes, digits: The true boxes (images, objects, 4) and their classes (images, objects).
        classes: Number of classes.
        threshold: Smallest IoU at which a detection is right. Each object is found once.
    """
    areas = []
    for label in range(classes):
        candidates = sorted(
            ((score, image, box) for image, each in enumerate(found) for kind, score, box in each if kind == label),
            key=lambda candidate: -candidate[0],
        )
        total, taken, is_right = int((digits == label).sum()), set(), []
        for _, image, box in candidates:
            overlaps = [(iou(box, boxes[image, place]), place) for place in np.flatnonzero(digits[image] == label)] or [
                (0.0, -1)
            ]
            best, place = max(overlaps)
            is_right.append(best >= threshold and (image, place) not in taken)
            if is_right[-1]:
                taken.add((image, place))
        if total:
            right = np.cumsum(is_right) if is_right else np.zeros(0)
            precision = right / np.arange(1, len(right) + 1)
            # The best precision at this recall or a higher one.
            precision = np.maximum.accumulate(precision[::-1])[::-1]
            areas.append(float((precision * np.asarray(is_right, float)).sum() / total) if len(right) else 0.0)
    return float(np.mean(areas))
