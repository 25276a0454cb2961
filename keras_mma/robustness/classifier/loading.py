"""Classifiers from files: SavedModels and `.keras` files."""

import functools
import hashlib
import json
import os
import uuid
from pathlib import Path

import numpy as np

from keras_mma.errors import InputError, first_line
from keras_mma.robustness.classifier import gradients
from keras_mma.robustness.classifier.conventions import Preprocess
from keras_mma.robustness.classifier.model import Classifier


def load(
    path: str | os.PathLike,
    signature: str | None = None,
    preprocess: Preprocess | None = None,
    output_name: str | None = None,
) -> Classifier:
    """Load a SavedModel or a `.keras` file.

    Args:
        path: Folder of a SavedModel, or a file ending in `.keras`.
        signature: Which signature of a SavedModel; `serving_default`, or the only one, by default.
        preprocess: `Preprocess` from pixels 0 to 255 to what the model takes; pixels as they are by default.
        output_name: Which output, of several.

    Returns:
        A `Classifier`.

    Raises:
        InputError: if there is no such model, or it does not take one batch of images and give one output.

    Example:

    >>> keras_mma.models.WideResNet(10, 1, input_shape=(8, 8, 1)).save("network.keras")
    >>> unit_range = keras_mma.robustness.Preprocess(scale=1 / 255)
    >>> classifier = keras_mma.robustness.load("network.keras", preprocess=unit_range)
    >>> classifier.image_shape
    (8, 8, 1)
    """
    path = Path(path)
    preprocess = (preprocess or Preprocess()).checked()
    if path.is_dir() and ((path / "saved_model.pb").exists() or (path / "saved_model.pbtxt").exists()):
        return _load_saved_model(path, signature, preprocess, output_name)
    if path.is_file() and path.suffix in (".keras", ".h5"):
        if signature is not None:
            raise InputError(f"`signature` does not apply to a Keras file. Received: signature={signature!r}")
        return _load_keras(path, preprocess, output_name)
    what = "which does not exist"
    if path.exists():
        what = "a folder without saved_model.pb" if path.is_dir() else "another kind of file"
    raise InputError(f"`model` must be the folder of a SavedModel or a .keras file. Received: {path}, {what}")


def from_keras(model, path="in memory", sha256=None, preprocess=None, output_name=None):
    """A Keras model as a `Classifier`, on the backend that Keras runs on. See `load`."""
    import keras

    preprocess = (preprocess or Preprocess()).checked()
    inputs = getattr(model, "inputs", None) or []
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        shapes = [tuple(tensor.shape) for tensor in inputs]
        raise InputError(
            "the model must be Functional or Sequential and take one batch of images (batch, height, width, channels); "
            f"export other models as a SavedModel. Received: {type(model).__name__} with inputs {shapes}"
        )
    description = {"path": str(path), "kind": "keras", "sha256": sha256 or _hash_weights(model)}
    structure = keras.tree.flatten_with_path(model.compute_output_spec(inputs[0]))
    names = [str(place[-1]) if place else "output" for place, _ in structure]
    chosen = _choose_output("the model", names, output_name)
    if len(names) > 1:
        description["output_name"] = chosen
        model = keras.Model(model.inputs, model.outputs[names.index(chosen)])
    run, pull_back = gradients.of_keras(model)
    dtype = keras.backend.standardize_dtype(inputs[0].dtype)
    logits = functools.partial(gradients.logits_of_keras, model)
    return Classifier(run, pull_back, tuple(inputs[0].shape), dtype, preprocess, description, logits)


def _load_keras(path, preprocess, output_name):
    import keras

    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:
        raise InputError(f"{path} cannot be loaded by Keras: {first_line(error)}") from error
    return from_keras(model, path, _hash_files([path]), preprocess, output_name)


def _load_saved_model(path, signature, preprocess, output_name):
    try:
        import tensorflow as tf
    except ImportError as error:
        raise InputError("a SavedModel needs TensorFlow: pip install 'keras-mma[tensorflow]'") from error
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:
        raise InputError(f"{path} cannot be loaded by TensorFlow: {first_line(error)}") from error
    name, function = _choose_signature(path, dict(loaded.signatures), signature)
    specs = function.structured_input_signature[1]
    if len(specs) != 1:
        raise InputError(f"signature {name!r} must take one batch of images. Received inputs: {sorted(specs)}")
    (spec,) = specs.values()
    if spec.shape.rank != 4 or not (spec.dtype.is_floating or spec.dtype.is_integer):
        raise InputError(
            f"signature {name!r} must take images (batch, height, width, channels). Received: "
            f"{spec.dtype.name} of shape {spec.shape}"
        )
    output = _choose_output(f"signature {name!r}", sorted(function.structured_outputs), output_name)
    run, pull_back = gradients.of_signature(function, output, loaded)
    files = [file for file in path.rglob("*") if file.is_file()]
    description = {"path": str(path), "kind": "SavedModel", "signature": name, "sha256": _hash_files(files)}
    if len(function.structured_outputs) > 1:
        description["output_name"] = output
    logits = functools.partial(gradients.logits_of_signature, function, output)
    return Classifier(run, pull_back, spec.shape.as_list(), spec.dtype.name, preprocess, description, logits)


def _choose_output(owner, names, name):
    if name is None and len(names) != 1:
        raise InputError(f"{owner} must have one output, or `output_name` must choose one. Received outputs: {names}")
    if name is not None and name not in names:
        raise InputError(f"`output_name` must be one of {names}. Received: output_name={name!r}")
    return names[0] if name is None else name


def _choose_signature(path, signatures, name):
    signatures.pop("__saved_model_init_op", None)
    if not signatures:
        raise InputError(
            f"{path} must have a serving signature: export it with model.export, or with signatures= of "
            "tf.saved_model.save. Received: a SavedModel without any"
        )
    chosen = name or (next(iter(signatures)) if len(signatures) == 1 else "serving_default")
    if chosen not in signatures:
        why = "" if name else f", because {path} has no serving_default"
        raise InputError(f"`signature` must be one of {sorted(signatures)}{why}. Received: signature={name!r}")
    return chosen, signatures[chosen]


def _hash_files(files):
    """SHA-256 over names and contents."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _hash_weights(model):
    import keras

    try:
        text = json.dumps(keras.saving.serialize_keras_object(model.get_config()), sort_keys=True)
    except Exception:  # a layer that cannot be serialized can be measured, but is not known again
        text = uuid.uuid4().hex
    digest = hashlib.sha256(text.encode())
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()
