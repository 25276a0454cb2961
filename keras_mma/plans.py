"""The plan: which samples are mixed, where in the image and in the network, and how the labels follow.

A plan is a plain dict of tensors, so that it flows through a Functional graph beside the features:

| key | shape, dtype | meaning |
|---|---|---|
| `partner` | (batch,) int32 | index of the sample that each sample is mixed with |
| `mask` | (batch, height, width, 1) float32 in [0, 1] | share of its own image that each location keeps |
| `weight` | (batch,) float32 in [0, 1] | share of its own label that each sample keeps |
| `site` | () int32 | the site that fires in this step: 0 the input, k `FeatureMixAdapt(site=k)`, -1 none |

Labels that are vectors follow the weight, labels that are maps follow the mask. A `FeatureMixAdapt` that fires replaces
both by those of its adapted mask, so that the weight is the mean of the mask. At the input, the mixer's `label` may
weight it by saliency.

All functions in this module are pure.
"""

from typing import Any

import keras
from keras import ops

from keras_mma import moving
from keras_mma.backend import device_groups, known_values, scaled

__all__ = ["mix_images", "mix_labels", "mix_sample_weight", "mix_segmentation_masks", "take_partner"]

KEYS = ("partner", "mask", "weight", "site")
_RANKS = {"partner": 1, "mask": 4, "weight": 1, "site": 0}


def make(partner, mask, weight=None, site=0, is_unmixed=None):
    """Build a plan.

    Args:
        partner: Integer tensor (batch,).
        mask: Float tensor (batch, height, width, 1) in [0, 1].
        weight: Float tensor (batch,) in [0, 1]; by default the mean of each mask.
        site: Integer scalar.
        is_unmixed: Booleans (batch,), true where the mask is 1 everywhere. Computed from the mask by default.

    Returns:
        The plan. A sample whose mask is 1 everywhere becomes its own partner, so that no NaN or infinity of another
        sample can reach it.
    """
    if len(mask.shape) != 4:
        raise ValueError(f"`mask` must be of shape (batch, height, width, 1). Received: shape {tuple(mask.shape)}")
    mask = ops.stop_gradient(ops.cast(mask, "float32"))
    weight = ops.mean(mask, axis=(1, 2, 3)) if weight is None else ops.stop_gradient(ops.cast(weight, "float32"))
    plan = {
        "partner": ops.cast(partner, "int32"),
        "mask": mask,
        "weight": weight,
        "site": ops.cast(site, "int32"),
    }
    plan["partner"] = active_partner(plan["partner"], find_unmixed(mask) if is_unmixed is None else is_unmixed)
    return plan


def unmixed(batch_size, height, width):
    """The plan that mixes nothing."""
    return {
        "partner": ops.arange(batch_size, dtype="int32"),
        "mask": ops.ones((batch_size, height, width, 1), "float32"),
        "weight": ops.ones((batch_size,), "float32"),
        "site": ops.full((), -1, "int32"),
    }


def spec(batch_size, height, width):
    """The symbolic tensors of a plan, as `compute_output_spec` returns them."""
    shapes = {
        "partner": (batch_size,),
        "mask": (batch_size, height, width, 1),
        "weight": (batch_size,),
        "site": (),
    }
    return {key: keras.KerasTensor(shapes[key], "float32" if key in ("mask", "weight") else "int32") for key in KEYS}


def is_plan(value):
    """Whether a value has the structure of a plan."""
    return isinstance(value, dict) and set(value) == set(KEYS)


def check(plan, batch_size=None, name="plan"):
    """Raise a `ValueError` unless `plan` is a plan for `batch_size` samples.

    Args:
        plan: The value to check.
        batch_size: Static number of samples, or `None`.
        name: Name of the plan in the error message.
    """
    if not is_plan(plan):
        received = sorted(plan) if isinstance(plan, dict) else type(plan).__name__
        raise ValueError(f"`{name}` must be a dict with the keys {list(KEYS)}. Received: {received}")
    for key, rank in _RANKS.items():
        if len(plan[key].shape) != rank:
            raise ValueError(
                f"`{name}[{key!r}]` must be a tensor of rank {rank}. Received: shape {tuple(plan[key].shape)}"
            )
    for key in ("partner", "mask", "weight"):
        samples = plan[key].shape[0]
        if batch_size is not None and samples is not None and samples != batch_size:
            raise ValueError(
                f"`{name}` must be for the same batch as the tensor it mixes: expected {batch_size} samples. "
                f"Received: `{name}[{key!r}]` with {samples} samples"
            )


def take_partner(values: Any, partner: Any) -> Any:
    """The values of each sample's partner, `values[partner]`.

    In a batch that is sharded over devices, partners lie on the same device. This function shows that to the compiler,
    so that nothing travels between devices.

    Args:
        values: Tensor (batch, ...).
        partner: Int32 tensor (batch,).

    Returns:
        A tensor like `values`.

    Example:

    >>> taken = keras_mma.plans.take_partner(np.array([1.0, 2.0, 3.0]), np.array([2, 0, 1]))
    >>> keras.ops.convert_to_numpy(taken).tolist()
    [3.0, 1.0, 2.0]
    """
    groups = device_groups(values.shape[0])
    if groups == 1:
        return ops.take(values, partner, axis=0)
    samples = values.shape[0] // groups
    index = ops.reshape(ops.mod(partner, samples), (groups, samples, *[1] * (len(values.shape) - 1)))
    grouped = ops.reshape(values, (groups, samples, *values.shape[1:]))
    return ops.reshape(ops.take_along_axis(grouped, index, axis=1), values.shape)


def find_unmixed(mask):
    """Booleans (batch,), true for the samples whose mask is 1 everywhere."""
    return ops.min(mask, axis=(1, 2, 3)) == 1.0


def active_partner(partner, is_unmixed):
    """The partner of each sample, or the sample itself if it is not mixed."""
    return ops.where(is_unmixed, ops.arange(ops.shape(partner)[0], dtype="int32"), partner)


def blend(own, partner, mask):
    """`mask * own + (1 - mask) * partner` in the dtype of `own`; integers are blended in float32 and rounded.

    Where the mask is 1, the result is `own` bit for bit, and where it is 0, `partner`.

    Args:
        own, partner: Tensors of the same shape and dtype.
        mask: Float32 tensor that broadcasts to them, without gradient.
    """
    dtype = keras.backend.standardize_dtype(own.dtype)
    if keras.backend.is_float_dtype(dtype):
        mixed = scaled(own, ops.cast(mask, dtype)) + scaled(partner, ops.cast(1.0 - mask, dtype))
    else:
        mixed = mask * ops.cast(own, "float32") + (1.0 - mask) * ops.cast(partner, "float32")
        mixed = ops.cast(ops.round(mixed), dtype)
    # 0 times infinity is NaN, and float32 has no integers above 2^24.
    return ops.where(mask == 1.0, own, ops.where(mask == 0.0, partner, mixed))


def mix_images(
    images: Any, plan: dict, data_format: str = "channels_last", source: Any = None, own_source: Any = None
) -> Any:
    """Mix images by the plan.

    Args:
        images: Tensor (batch, height, width, channels), or (batch, channels, height, width).
        plan: The plan; its mask has the height and width of the images.
        data_format: `"channels_last"` or `"channels_first"`.
        source: What each pixel shows of the partner's image, if that is moved or shrunk before it is mixed in; see
            `keras_mma.moving.rearrange`.
        own_source: Likewise for the sample's own image.

    Returns:
        Images of the same shape and dtype.

    Example:

    >>> images = np.random.rand(8, 16, 16, 3)
    >>> mixed, plan = keras_mma.layers.CutMix()(images, training=True)
    >>> np.allclose(keras_mma.plans.mix_images(images, plan), mixed, atol=1e-6)
    True
    """
    mask = plan["mask"]
    size = images.shape[1:3] if data_format == "channels_last" else images.shape[2:4]
    if any(None not in pair and pair[0] != pair[1] for pair in zip(mask.shape[1:3], size, strict=True)):
        raise ValueError(
            f"`plan['mask']` must have the height and width of the images, {tuple(size)}. "
            f"Received: shape {tuple(mask.shape)}"
        )
    if data_format == "channels_first":
        mask = ops.transpose(mask, (0, 3, 1, 2))
    own = moved(images, own_source, data_format)
    return blend(own, partner_images(images, plan["partner"], data_format, source), mask)


def partner_images(images, partner, data_format="channels_last", source=None):
    """The image that is mixed into each sample; the arguments are those of `mix_images`."""
    return moved(take_partner(images, partner), source, data_format)


def moved(images, source, data_format="channels_last"):
    """The images as `moving.rearrange` moves their pixels, or as they are if `source` is `None`."""
    return images if source is None else moving.rearrange(images, source, data_format)


def mix_labels(labels: Any, plan: dict) -> Any:
    """Mix labels by the weights of the plan: `weight * y + (1 - weight) * y[partner]`.

    Args:
        labels: Float tensor (batch, ...).
        plan: The plan.

    Returns:
        A float32 tensor of the same shape.

    Raises:
        ValueError: If the labels are integers, because the mean of two class indices is another class.

    Example:

    >>> plan = {"partner": np.array([1, 0]), "weight": np.array([0.75, 1.0], "float32")}
    >>> keras.ops.convert_to_numpy(keras_mma.plans.mix_labels(np.eye(2), plan)).tolist()
    [[0.75, 0.25], [0.0, 1.0]]
    """
    labels = labels if hasattr(labels, "dtype") else ops.convert_to_tensor(labels)
    dtype = keras.backend.standardize_dtype(labels.dtype)
    if not keras.backend.is_float_dtype(dtype):
        raise ValueError(
            "`labels` must be floats, because class indices cannot be averaged: one-hot encode them, "
            "`keras.ops.one_hot(labels, num_classes)`. "
            f"Received: labels of shape {tuple(labels.shape)} and dtype {dtype}"
        )
    return _mix_samples(labels, plan)


def _mix_samples(labels, plan):
    labels = ops.cast(labels, "float32")
    weight = ops.reshape(plan["weight"], [-1] + [1] * (len(labels.shape) - 1))
    return weight * labels + (1.0 - weight) * take_partner(labels, plan["partner"])


def mix_sample_weight(sample_weight: Any, plan: dict) -> Any:
    """Mix the sample weights as the labels are mixed.

    Args:
        sample_weight: Tensor (batch,) or (batch, 1).
        plan: The plan.

    Returns:
        A float32 tensor of the same shape.
    """
    return _mix_samples(sample_weight, plan)


def mix_segmentation_masks(masks: Any, plan: dict, source: Any = None, own_source: Any = None) -> Any:
    """Mix segmentation masks where the images were mixed.

    Args:
        masks: Class indices (batch, height, width), which can be mixed only where the plan's mask is binary, or
            class shares (batch, height, width, classes).
        plan: The plan; its mask has the same height and width.
        source, own_source: As in `mix_images`.

    Returns:
        A tensor of the same shape and dtype.

    Raises:
        ValueError: If the masks are integers and the plan's mask, where its values are known, has others than 0 and 1,
            because the mean of two class indices is another class.
    """
    dtype = keras.backend.standardize_dtype(masks.dtype)
    if not keras.backend.is_float_dtype(dtype):
        shares = known_values(plan["mask"])
        if shares is not None and not ((shares == 0) | (shares == 1)).all():
            raise ValueError(
                "`masks` must be float class shares where the plan's mask has values between 0 and 1, because class "
                "indices cannot be averaged: one-hot encode them, `keras.ops.one_hot(masks, num_classes)`. "
                f"Received: masks of shape {tuple(masks.shape)} and dtype {dtype}"
            )
    if len(masks.shape) == 3:
        return ops.squeeze(mix_segmentation_masks(ops.expand_dims(masks, -1), plan, source, own_source), -1)
    return mix_images(masks, plan, source=source, own_source=own_source)
