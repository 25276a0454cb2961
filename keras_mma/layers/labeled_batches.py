"""Batches of images with their labels, sample weights and segmentation masks, as they leave a pipeline."""

import keras
from keras import ops

from keras_mma import plans


def check(batch, mixer):
    """Raise a `ValueError` unless a mixer can mix this labeled batch.

    Args:
        batch: The batch as a dict, its labels encoded.
        mixer: The `Mixer`.
    """
    if mixer.sites != (0,):
        raise ValueError(
            "`sites` must be (0,) for a labeled batch, which is mixed before it reaches a network. "
            f"Received: sites={mixer.sites}"
        )
    size = batch["images"].shape[0]
    for leaf in keras.tree.flatten(batch.get("sample_weight")):
        if leaf is not None and len(leaf.shape) > 2:
            _check_size("sample_weight", tuple(leaf.shape), batch["images"], mixer)
    for name in ("labels", "sample_weight"):
        for leaf in keras.tree.flatten(batch.get(name)):
            if leaf is not None and None not in (size, leaf.shape[0]) and leaf.shape[0] != size:
                raise ValueError(
                    f"`{name}` must have as many samples as `images`: expected {size}. "
                    f"Received: shape {tuple(leaf.shape)}"
                )
    if "segmentation_masks" in batch:
        _check_segmentation_masks(batch["segmentation_masks"], batch["images"], mixer)


def _check_segmentation_masks(masks, images, mixer):
    shape = tuple(masks.shape)
    _check_size("segmentation_masks", shape, images, mixer)
    if not mixer.has_binary_mask and (len(shape) == 3 or not keras.backend.is_float_dtype(masks.dtype)):
        raise ValueError(
            "`segmentation_masks` must be float class shares (batch, height, width, classes) for "
            f"{type(mixer).__name__}, whose mask blends: class indices cannot be blended. "
            f"Received: shape {shape}, dtype {keras.backend.standardize_dtype(masks.dtype)}"
        )


def _check_size(name, shape, images, mixer):
    """Raise a `ValueError` unless a shape is that of maps of the size of the images."""
    expected = (images.shape[0], *mixer.image_size(images.shape))
    fits = len(shape) in (3, 4) and all(
        None in pair or pair[0] == pair[1] for pair in zip(shape, expected, strict=False)
    )
    if not fits:
        raise ValueError(
            f"`{name}` must be of shape (batch, height, width) or (batch, height, width, classes), where "
            f"(batch, height, width) is {expected} as for the images. Received: shape {shape}"
        )


def mix(batch, plan, source=None, own_source=None):
    """The labels, sample weights and segmentation masks of a batch, mixed by the plan.

    Args:
        batch: The batch as a dict, its labels encoded.
        plan: The plan.
        source, own_source: See `plans.mix_images`.

    Returns:
        A dict with those of these keys that the batch has.
    """
    mixed = {}

    def mix_weights(weights):
        if len(weights.shape) < 3:
            return plans.mix_sample_weight(weights, plan)
        return plans.mix_segmentation_masks(ops.cast(weights, "float32"), plan, source, own_source)

    for name, mix in (("labels", lambda leaf: plans.mix_labels(leaf, plan)), ("sample_weight", mix_weights)):
        if name in batch:
            mixed[name] = keras.tree.map_structure(mix, batch[name])
    if (masks := batch.get("segmentation_masks")) is not None:
        mixed["segmentation_masks"] = plans.mix_segmentation_masks(masks, plan, source, own_source)
    return mixed
