"""The forms in which a batch reaches a mixer: reading them, checking them, and returning the same form.

Images without labels are one of them: inside a model, something must then mix the labels by the plan.
"""

import contextlib
import contextvars
import functools
import inspect
import warnings

import keras
from keras import ops

from keras_mma import label_encoding
from keras_mma.backend import has_foreign_symbols, known_shape, refuse_wide_integers
from keras_mma.layers import labeled_batches

_FOLLOWED = contextvars.ContextVar("followed", default=None)
KEYS = ("images", "labels", "sample_weight", "segmentation_masks")
#: Keys of tensorflow-datasets, and what they are here.
ALIASES = {"image": "images", "label": "labels"}
#: Parts of keys whose values describe the image, so that they would have to be mixed with it.
_CONTENT = ("box", "depth", "flow", "image", "keypoint", "label", "landmark", "mask", "object", "point", "segment")


def read_for(mixer, images, labels=None, sample_weight=None):
    """`read` for a mixer: the batch is checked, and its labels are encoded as float32 vectors."""
    batch, write = read(images, labels, sample_weight)
    shape = batch["images"].shape
    if len(shape) != 4:
        raise ValueError(f"`images` must be a batch of rank 4 ({mixer.data_format}). Received: shape {tuple(shape)}")
    if is_labeled(batch):
        if "labels" in batch:
            encode = functools.partial(label_encoding.encode, classes=mixer.num_classes)
            batch = {**batch, "labels": keras.tree.map_structure(encode, batch["labels"])}
        if "sample_weight" in batch:
            weights = keras.tree.map_structure(lambda leaf: ops.cast(leaf, "float32"), batch["sample_weight"])
            batch = {**batch, "sample_weight": weights}
        labeled_batches.check(batch, mixer)
    return batch, write


def read(images, labels=None, sample_weight=None):
    """Read a batch in any of its forms.

    Args:
        images: The images alone; a tuple `(images, labels)` or `(images, labels, sample_weight)`; or a dict with
            the keys `images` and `labels` or `segmentation_masks`, and optionally more.
        labels, sample_weight: The rest of the tuple when it is passed as separate arguments, as `Dataset.map` does.

    Returns:
        The batch as a dict with some of the keys above, and a function that converts such a dict to the form of the
        input. Without labels, the dict holds only `images`, and the function returns `(images, plan)`.

    Raises:
        ValueError: if the batch has none of these forms.
    """
    if isinstance(images, dict):
        if labels is not None or sample_weight is not None:
            raise ValueError("`labels` must be inside the dict when `images` is a dict. Received: both")
        return _read_dict(images)
    if isinstance(images, (list, tuple)):
        if labels is not None or sample_weight is not None or len(images) not in (2, 3):
            raise ValueError(
                "`images` must be a tensor, a tuple (images, labels) or (images, labels, sample_weight), or a dict. "
                f"Received: a {type(images).__name__} of {len(images)}"
            )
        if images[1] is None:
            raise ValueError("A batch of images and labels must have labels. Received: None in their place")
        form = getattr(images, "_make", type(images))
        batch, write = read(*images)
        rest = (None,) * (len(images) - len(batch))  # (images, labels, None)
        return batch, lambda mixed: form((*write(mixed), *rest))
    if labels is None:
        if sample_weight is not None:
            raise ValueError("`sample_weight` must come with `labels`. Received: sample_weight without labels")
        return {"images": images}, lambda mixed: (mixed["images"], mixed["plan"])
    names = KEYS[: 2 if sample_weight is None else 3]
    batch = dict(zip(names, (images, labels, sample_weight), strict=False))
    return batch, lambda mixed: tuple(mixed[name] for name in names)


def _read_dict(batch):
    names = {key: ALIASES.get(key, key) for key in batch}
    known = {name: batch[key] for key, name in names.items() if name in KEYS}
    others = [key for key, name in names.items() if name not in KEYS]
    missing = [name for name, value in known.items() if value is None]
    if missing:
        raise ValueError(f"A batch in a dict must have values for {missing}. Received: None")
    content = sorted(str(key) for key in others if _describes_image(key, batch[key]))
    is_supervised = "images" in known and ("labels" in known or "segmentation_masks" in known)
    if content or not is_supervised or len(known) + len(others) < len(batch):
        raise ValueError(
            "A batch in a dict must have the keys 'images' and 'labels' or 'segmentation_masks', and may have "
            "'sample_weight'; 'image' and 'label' mean the same. Other values pass through, unless they describe the "
            f"image and cannot be mixed with it. Received: {sorted(map(str, batch))}"
            + (f", of which {content} cannot be mixed" if content else "")
        )
    return known, lambda mixed: {key: mixed[name] if name in KEYS else batch[key] for key, name in names.items()}


def _describes_image(key, value):
    """Whether a value would have to be mixed with the image, by its name.

    A string, such as a file name, cannot be, nor can an integer, such as an identifier, unless it is a label.
    """
    dtype = keras.backend.standardize_dtype(getattr(value, "dtype", "float32"))
    is_number = keras.backend.is_int_dtype(dtype) and len(getattr(value, "shape", (0, 0))) <= 1
    content = ("label", "object") if is_number else _CONTENT
    return dtype != "string" and any(part in str(key).lower() for part in content)


def check_values(mixer, images, labels=None, *others, **named):
    """Raise a `ValueError` for values that Keras cannot convert to tensors of the backend, or has no shape of.

    Args:
        mixer: The `Mixer`, before its `call`.
        images, labels: See `read`; their form is not checked.
        *others, **named: The other arguments of the call.
    """
    refuse_wide_integers(images, labels, others, named)
    if has_foreign_symbols(images, labels, others, named):
        raise ValueError(
            f"{type(mixer).__name__} cannot run in a `tf.data` pipeline on the {keras.backend.backend()} backend: "
            "put it into the model (`MixModel`, `mixify`) or call it on the batches that leave the pipeline. "
            "Received: a symbolic TensorFlow tensor"
        )
    for tensor in keras.tree.flatten((images, labels, others, named)):
        if hasattr(tensor, "shape") and known_shape(tensor) is None:
            raise ValueError(
                "Images and labels must be tensors of known rank: give it by `set_shape` or an `output_signature`. "
                f"Received: a tensor of unknown rank and dtype {tensor.dtype.name}"
            )
    if isinstance(images, dict):
        labels = [images[key] for key in ("labels", "label") if key in images]
    elif isinstance(images, (list, tuple)):
        labels = images[1:2]
    label_encoding.refuse_strings(labels)


def is_labeled(batch):
    """Whether a batch that was read has anything but images."""
    return set(batch) != {"images"}


def is_counted(batch):
    """Booleans (batch,), true for the samples with a sample weight other than 0.

    Args:
        batch: The batch as a dict.

    Raises:
        ValueError: if it has no sample weights.
    """
    if "sample_weight" not in batch:
        raise ValueError(
            "`ignore_zero_weight` requires labeled batches with sample weights, because a mixer inside a model sees "
            f"the images alone. Received: a batch of {sorted(batch)}"
        )
    leaves = keras.tree.flatten(batch["sample_weight"])
    counted = [ops.any(ops.reshape(leaf, (ops.shape(leaf)[0], -1)) != 0, axis=1) for leaf in leaves]
    return functools.reduce(ops.logical_or, counted)


@contextlib.contextmanager
def following_the_plan(mixer):
    """A context in which a mixer may mix images without labels, because the caller mixes the labels.

    Args:
        mixer: The `Mixer`.

    Yields:
        A list, to which the images that the mixer receives are appended.
    """
    received = []
    token = _FOLLOWED.set((mixer, received))
    try:
        yield received
    finally:
        _FOLLOWED.reset(token)


def check_comparison(mixer, is_labeled=False):
    """Raise a `ValueError` if a mixer has the rule `"sumix"` and no `MixModel` applies it, as to a labeled batch."""
    if mixer.label == "sumix" and (is_labeled or not mixer.is_compared_by_model):
        raise ValueError(
            "`label='sumix'` needs a network, whose predictions it compares: use the mixer inside a `MixModel`, and "
            "pass it to a `RandomChoice` itself, not to its mixers. Received: no network"
        )


def check_sources(mixer, mask):
    """Raise a `ValueError` if a mask moves pixels and its mixer does not say so."""
    if not mixer.is_input_only and (mask.source is not None or mask.own_source is not None):
        raise ValueError(
            f"`is_input_only` of {type(mixer).__name__} must be True, because its mask has a `source` or an "
            "`own_source`: a plan does not hold displacements, so that features and maps cannot follow it. "
            f"Received: is_input_only=False in {mixer.name!r}"
        )


def check_followed(mixer, images):
    """Raise a `ValueError` if a mixer is about to mix images inside a model that loses its plan.

    Args:
        mixer: The `Mixer`, inside its `call`. Called by itself, outside a model, it may mix.
        images: The images that it received.
    """
    followed, received = _FOLLOWED.get() or (None, None)
    if followed is mixer:
        received.append(images)
        return
    if not mixer.requires_mix_model:
        return
    if followed is not None:
        raise ValueError(
            f"{mixer.name!r} would mix images, and nothing would mix their labels, which follow {followed.name!r}, the "
            "mixer that returned the plan of the model. Call one mixer, as a layer of the model itself. "
            f"Received: a call of {mixer.name!r} inside another layer, such as a `Lambda`"
        )
    model = mixer._get_call_context().entry_layer
    if model is mixer:
        # Keras' trainer on JAX calls the layers of a model without the model: only the call stack shows the model.
        model = _caller(keras.Model, "call")
    if model is None:
        return
    raise ValueError(
        f"{mixer.name!r} would mix images, and nothing would mix their labels: build a "
        "`MixModel(inputs, (outputs, plan))`, use `mixify`, or mix labeled batches before they reach the model. If "
        f"you mix the labels by the plan yourself, pass `requires_mix_model=False`. Received: training=True inside "
        f"{model.name!r}, which is not a `MixModel`"
    )


def _caller(model_class, method=None):
    """The model of a class that has called this function, by its method of that name, or `None`."""
    frame = inspect.currentframe()  # `inspect.stack()` also looks for source files, which takes far longer
    while frame := frame.f_back:
        caller = frame.f_locals.get("self") if method in (None, frame.f_code.co_name) else None
        if isinstance(caller, model_class):
            return caller
    return None


def check_not_in_sequential(mixer):
    """Raise a `ValueError` if a mixer is called on symbolic images by a `Sequential` model.

    Args:
        mixer: The `Mixer`, inside its `compute_output_spec`.
    """
    # Only the call stack shows which model calls a layer symbolically.
    model = _caller(keras.Sequential)
    if model is not None:
        raise ValueError(
            "A mixer cannot be a layer of a `Sequential` model, which has no place for its plan: build the model "
            "without it and use `mixify(model, mixer)`, or call the mixer on labeled batches. "
            f"Received: {mixer.name!r} in {model.name!r}"
        )


def warn_of_data_format(shape, mixer):
    """Warn of images whose shape is plausible in the other data format only, such as those of a torch `DataLoader`.

    Args:
        shape: Shape of a batch of images.
        mixer: A mixer with its data format.
    """
    is_last = mixer.data_format == "channels_last"
    side, channels = (shape[1], shape[3]) if is_last else (shape[3], shape[1])
    is_large = channels is not None and channels > 4
    # Only their equal sides reveal images with one channel.
    if is_large and (side == 3 or (side == 1 and shape[2] == channels)):
        other = "channels_first" if is_last else "channels_last"
        warnings.warn(
            f"{mixer.name!r} expects {mixer.data_format} `images`, but these look like {other}: pass "
            f"`data_format={other!r}`. Received: images of shape {shape}",
            stacklevel=2,
        )
