"""The labels and sample weights of all heads of a model, encoded, and mixed as the features were mixed."""

import keras
from keras import ops

from keras_mma import label_encoding, label_maps, plans


class Target:
    """The labels of one head.

    Args:
        labels: Encoded labels, float32 (batch, classes) or (batch, height, width, classes).
        is_map: Whether they are a map.
        counted: 0 for the pixels of a map that are ignored and 1 for the others, or `None`.
        name: Name of the labels in error messages.
    """

    def __init__(self, labels, is_map=False, counted=None, name="y"):
        self.labels, self.is_map, self.counted, self.name = labels, is_map, counted, name
        self.weights = None


def is_map(predictions):
    """Whether predictions are maps, (batch, height, width, classes)."""
    return len(predictions.shape) == 4


def encode(y, predictions, output_names, ignore_class=None):
    """The targets of all heads, in the structure of the labels.

    Args:
        y: Labels in the structure of the predictions; see `label_encoding.map_heads`.
        predictions: Predictions of all heads.
        output_names: Names of the heads.
        ignore_class: See `label_maps.encode`; for heads that are maps.
    """

    def encode_head(labels, head, name):
        _check_head(head, name)
        if is_map(head):
            maps, counted = label_maps.encode(labels, tuple(head.shape), ignore_class, name)
            return Target(maps, True, counted, name)
        return Target(label_encoding.encode(labels, head.shape[-1], name), name=name)

    return label_encoding.map_heads(encode_head, y, predictions, output_names)


def check(y, predictions, output_names, ignore_class=None, name="y"):
    """Raise a `ValueError` for labels that do not fit, as far as their values are known.

    Args:
        y, predictions, output_names, ignore_class: See `encode`; predictions may be symbolic.
        name: Name of the labels in error messages.
    """

    def check_head(labels, head, name):
        _check_head(head, name)
        if is_map(head):
            label_maps.check(labels, head.shape, ignore_class, name)
        else:
            label_encoding.check_width(labels, head.shape[-1], name)
            label_encoding.check_range(labels, head.shape[-1], name)

    label_encoding.map_heads(check_head, y, predictions, output_names, name)


def _check_head(predictions, name):
    if len(predictions.shape) not in (2, 4):
        raise ValueError(
            f"`{name}` must be labels of predictions (batch, classes), where one output is (batch, 1), or (batch, "
            "height, width, classes). Others, such as boxes, cannot be mixed. "
            f"Received: predictions of shape {tuple(predictions.shape)}"
        )


def refuse_moved_maps(targets, mixer):
    """Raise a `ValueError` for labels that are maps, if the mixer moves or resizes the partner's image."""
    for target in keras.tree.flatten(targets):
        if target is not None and target.is_map and mixer.is_input_only:
            raise ValueError(
                f"`{target.name}` must not be maps for the mixer {mixer.name!r}, which moves or resizes the partner's "
                "image, because a plan does not hold displacements: call the mixer on labeled batches "
                "{'images', 'segmentation_masks'} before they reach the model. "
                f"Received: {target.name} of shape {tuple(target.labels.shape)}"
            )


def check_class_weight(class_weight, predictions):
    """Raise a `ValueError` for class weights of maps, which Keras cannot convert to weights of pixels."""
    if class_weight is not None and any(map(is_map, keras.tree.flatten(predictions))):
        raise ValueError(
            "`class_weight` must be `None` for predictions that are maps: pass weights of pixels, "
            f"`sample_weight=np.array(weights)[labels]`. Received: class_weight={class_weight}"
        )


def follow(targets, sample_weight, predictions, output_names, plan=None):
    """Mix labels and sample weights by the plan: vectors by its weight, maps by its mask.

    Args:
        targets: What `encode` returned.
        sample_weight: Sample weights of all heads, or in the structure of the targets or of the predictions; or `None`.
        predictions, output_names: See `encode`.
        plan: The plan, or `None` where nothing was mixed.

    Returns:
        The labels, in the structure of the targets, and the sample weights, in that of the targets or, if these are a
        dict and the predictions are not, in that of the predictions.
    """
    # Keras finds the labels of a dict by `output_names`, but weights only by their place among the predictions.
    is_named = isinstance(targets, dict) and not isinstance(predictions, dict)
    if is_named and isinstance(sample_weight, (list, tuple)):
        sample_weight = dict(zip(output_names, keras.tree.flatten(sample_weight), strict=True))
    labels, sample_weight = _follow(targets, sample_weight, plan)
    if is_named and isinstance(sample_weight, dict):
        weights = [sample_weight.get(name) for name in output_names]
        sample_weight = keras.tree.pack_sequence_as(predictions, weights)
    return labels, sample_weight


def _follow(targets, sample_weight, plan):
    leaves = [target for target in keras.tree.flatten(targets) if target is not None]
    if plan is not None:
        for target in leaves:
            plans.check(plan, target.labels.shape[0])
    if not any(target.is_map for target in leaves):
        labels = _map(lambda target: target.labels, targets)
        if plan is None:
            return labels, sample_weight
        return _mix_leaves(plans.mix_labels, labels, plan), _mix_leaves(plans.mix_sample_weight, sample_weight, plan)
    _spread(targets, sample_weight)
    for target in leaves:
        if target.is_map:
            target.weights = label_maps.weights(target.weights, target.counted, target.labels)
            if plan is not None:
                target.labels, target.weights = label_maps.mix(target.labels, target.counted, target.weights, plan)
        elif plan is not None:
            target.labels = plans.mix_labels(target.labels, plan)
            target.weights = None if target.weights is None else plans.mix_sample_weight(target.weights, plan)
    if all(target.weights is None for target in leaves):
        return _map(lambda target: target.labels, targets), None
    return _map(lambda target: target.labels, targets), _map(_weights_or_ones, targets)


def _map(function, targets):
    return keras.tree.map_structure(lambda target: None if target is None else function(target), targets)


def _weights_or_ones(target):
    if target.weights is not None:
        return target.weights
    # Keras accepts no `None` among the weights of several heads, and none of samples for a loss of pixels.
    return ops.ones(ops.shape(target.labels)[: 3 if target.is_map else 1], "float32")


def _spread(targets, sample_weight, name="sample_weight"):
    """Give each target its weights: those of its place in the structure, or those of all heads."""
    if isinstance(targets, dict) and isinstance(sample_weight, dict):
        for key, target in targets.items():
            _spread(target, sample_weight.get(key), f"{name}[{key!r}]")
    elif isinstance(targets, (list, tuple)) and isinstance(sample_weight, (list, tuple)):
        for index, pair in enumerate(zip(targets, sample_weight, strict=True)):
            _spread(*pair, f"{name}[{index}]")
    elif sample_weight is not None:
        for target in keras.tree.flatten(targets):
            if target is not None and not target.is_map and len(sample_weight.shape) > 2:
                raise ValueError(
                    f"`{name}` must be weights of samples, (batch,), for the vectors `{target.name}`: pass weights in "
                    f"the structure of `y`. Received: {name} of shape {tuple(sample_weight.shape)}"
                )
            if target is not None:
                target.weights = sample_weight


def _mix_leaves(mix, structure, plan):
    """Mix all labels or sample weights of a structure, in which `None` stays."""

    def mix_leaf(leaf):
        if leaf is None:
            return None
        plans.check(plan, leaf.shape[0])
        return mix(leaf, plan)

    return keras.tree.map_structure(mix_leaf, structure)
