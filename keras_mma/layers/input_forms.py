"""The forms in which a labelled batch reaches a layer, and the way back to the same form."""

KEYS = ("images", "labels", "sample_weight", "segmentation_masks")


def read(images, labels=None, sample_weight=None):
    """Read a batch in any of its forms.

    Args:
        images: The images alone; a tuple `(images, labels)` or `(images, labels, sample_weight)`; or a dict with
            the keys `images`, `labels` and, optionally, `sample_weight` and `segmentation_masks`.
        labels, sample_weight: The rest of the tuple where it comes as separate arguments, as `Dataset.map`
            passes it.

    Returns:
        The batch as a dict with some of the keys above, and a function that turns such a dict into the form that
        was received. The dict holds only `images` where no labels came.

    Raises:
        ValueError: if the form is none of these.
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
        form = type(images)
        batch, write = read(*images)
        return batch, lambda mixed: form(write(mixed))
    names = KEYS[: 1 if labels is None else 2 if sample_weight is None else 3]
    if labels is None and sample_weight is not None:
        raise ValueError("`sample_weight` must come with `labels`. Received: sample_weight without labels")
    batch = dict(zip(names, (images, labels, sample_weight), strict=False))
    return batch, lambda mixed: tuple(mixed[name] for name in names)


def _read_dict(given):
    unknown = sorted(set(given) - set(KEYS))
    if unknown or not {"images", "labels"} <= set(given):
        raise ValueError(
            f"A batch as a dict must have the keys 'images' and 'labels', and may have {list(KEYS[2:])}: what is not "
            f"known cannot be mixed with the images. Received: {sorted(given)}"
        )
    return dict(given), lambda mixed: {name: mixed[name] for name in given}
