"""Any image classifier: pixels in, an array of outputs out, and its gradient where it has one."""

import functools
import hashlib
from pathlib import Path

import numpy as np

from keras_mma.errors import InputError, first_line
from keras_mma.robustness.classifier import conventions, gradients
from keras_mma.robustness.classifier.conventions import Preprocess


class Classifier:
    """An image classifier of any framework. `load` makes one from a file.

    Args:
        run: `run(inputs)` returns the outputs (n, classes) of an array of inputs as the model takes them.
        pull_back: `pull_back(inputs, gradient_of)` returns the outputs and the gradient with respect to the inputs of
            the loss whose gradient with respect to the outputs is `gradient_of(outputs)`; or `None`.
        input_shape: (batch, height, width, channels) or (batch, channels, height, width), `None` where any number is
            accepted.
        dtype: Name of the dtype that the model takes.
        preprocess: `Preprocess` from pixels to inputs.
        description: Dict of plain values for the report: `path`, `kind`, `sha256` and others.
        logits: Function that returns another `run` and `pull_back`, for the input of the softmax or sigmoid that gives
            the outputs, or `None`.
    """

    def __init__(self, run, pull_back, input_shape, dtype, preprocess, description, logits=lambda: None):
        self._run, self._pull_back, self._logits = run, pull_back, logits
        # What is attacked: the outputs, or the logits from which they come.
        self.attacked, self._attacked_pull_back = "outputs", pull_back
        self.input_shape, self.dtype, self.preprocess = tuple(input_shape), dtype, preprocess
        self.description = description
        self.kind = None  # "logits" or "probabilities", which `check` decides
        height, width, channels = self.input_shape[1:]
        self._channels_first = height in (1, 3) and channels not in (1, 3, None)

    @property
    def image_shape(self):
        """Height, width and channels of the images that the model takes, `None` where any number is accepted."""
        shape = self.input_shape[1:]
        return (*shape[1:], shape[0]) if self._channels_first else shape

    def check(self, pixels, classes, exact, kind=None):
        """Refuse a model that does not fit the dataset, and decide whether its outputs are logits or probabilities.

        Args:
            pixels: Images (n, height, width, channels) 0 to 255, n at least 1.
            classes: Number of classes of the dataset.
            exact: Whether more outputs than classes are wrong too.
            kind: `"logits"` or `"probabilities"`, `None` to infer it from the values.

        Raises:
            InputError: if the images, the classes or the outputs do not fit.
        """
        for axis, (expected, received) in enumerate(zip(self.image_shape, pixels.shape[1:], strict=True)):
            if expected not in (None, received):
                expected_text = " x ".join("any" if size is None else str(size) for size in self.image_shape)
                raise InputError(
                    f"the model takes images of {expected_text} (height x width x channels). Received images of "
                    f"{' x '.join(map(str, pixels.shape[1:]))}" + ("; `image_size` resizes them" if axis < 2 else "")
                )
        self.preprocess.check(pixels.shape[-1])
        try:
            values = self._predict(self._run, pixels)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"the model does not run on images {pixels.shape[1:]}: {first_line(error)}") from error
        if values.ndim != 2 or values.dtype.kind != "f":
            raise InputError(
                "the model's outputs must be floats (batch, classes), logits or probabilities. Received: "
                f"{values.dtype.name} of shape {values.shape} for {len(pixels)} images"
            )
        # One output is the score of the second of two classes.
        received = max(2, values.shape[1])
        if received != classes and (exact or received < classes):
            raise InputError(f"the model must have the {classes} classes of the dataset. Received: {received} classes")
        if not np.isfinite(values).all():
            raise InputError("the model's outputs must be finite. Received: NaN or infinity for the first images")
        if kind is None:
            self.kind, why = conventions.decide_outputs(values)
        else:
            conventions.check_outputs(values, kind)
            self.kind, why = kind, "as `outputs` says"
        self.description |= {"classes": received, "outputs": self.kind, "outputs_decided": why}

    def predict(self, pixels):
        """Outputs (n, classes) of images (n, height, width, channels) 0 to 255, as an array."""
        return conventions.two_columns(self._predict(self._run, pixels), self.kind)

    def _predict(self, run, pixels):
        values = self._in_batches(self._to_inputs(pixels), lambda inputs: (np.asarray(run(inputs)),))[0]
        # NumPy has no bfloat16 of its own.
        return values.astype("float32") if values.dtype.name == "bfloat16" else values

    def probabilities(self, pixels):
        """Probabilities and their logarithms, each (n, classes) float64."""
        values = self.predict(pixels)
        if not np.isfinite(values).all():
            raise InputError("the model's outputs must be finite. Received: NaN or infinity")
        return conventions.to_probabilities(values, self.kind)

    def attack_gradient(self, pixels, labels):
        """The gradient with respect to the pixels of the loss that attacks increase; see `conventions.margin_gradient`.

        Args:
            pixels: Float images (n, height, width, channels) 0 to 255.
            labels: Class indices (n,).

        Returns:
            The attacked outputs and a float32 gradient like the images.
        """

        kind = self.kind if self.attacked == "outputs" else "logits"

        def run(inputs, labels):
            return self._attacked_pull_back(inputs, lambda values: conventions.margin_gradient(values, labels, kind))

        values, gradient = self._in_batches(self._to_inputs(pixels), run, labels)
        if not np.isfinite(gradient).all():
            raise InputError("the model's gradient must be finite. Received: NaN or infinity")
        if self._channels_first:
            gradient = gradient.transpose(0, 2, 3, 1)
        return values, self.preprocess.pull_back(gradient)

    def why_no_gradient(self, pixels, labels):
        """`None` if gradients reach the pixels, otherwise the reason in one line."""
        if self._pull_back is None or np.dtype(self.dtype).kind in "iu":
            return f"the model takes {self.dtype}, through which no gradient flows"
        try:
            self._find_logits(pixels)
            _, gradient = self.attack_gradient(pixels.astype("float32"), labels)
        except Exception as error:
            return f"the model gives no gradient: {first_line(error)}"
        return None if gradient.any() else "the model's gradient is zero everywhere"

    def _find_logits(self, pixels):
        """Attack the logits behind probabilities, whose gradient vanishes where they round to 0 or 1."""
        functions = self._logits() if self.kind == "probabilities" and self.attacked == "outputs" else None
        if functions is None:
            return
        run, pull_back = functions
        logits = conventions.two_columns(self._predict(run, pixels), "logits")
        expected = conventions.to_probabilities(self.predict(pixels), "probabilities")[0]
        if np.abs(conventions.to_probabilities(logits, "logits")[0] - expected).max() < 0.01:
            self.attacked, self._attacked_pull_back = "logits", pull_back

    def _to_inputs(self, pixels):
        inputs = self.preprocess.apply(pixels)
        if self._channels_first:
            inputs = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
        if np.dtype(self.dtype).kind in "iu":
            inputs = np.rint(inputs)
        return inputs.astype(self.dtype)

    def _in_batches(self, inputs, function, *others):
        """Call a function on batches of the size that the model was exported for, if that is fixed."""
        size = self.input_shape[0]
        if size is None:
            return function(inputs, *others)
        parts = []
        for start in range(0, len(inputs), size):
            rows = np.minimum(np.arange(start, start + size), len(inputs) - 1)
            parts.append(function(*(array[rows] for array in (inputs, *others))))
        return tuple(np.concatenate(arrays)[: len(inputs)] for arrays in zip(*parts, strict=True))


def load(path, signature=None, preprocess=None, output_name=None):
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
    """
    path = Path(path)
    preprocess = preprocess or Preprocess()
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

    inputs = getattr(model, "inputs", None) or []
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        shapes = [tuple(tensor.shape) for tensor in inputs]
        raise InputError(
            f"the model must take one batch of images (batch, height, width, channels). Received: {shapes}"
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
    return Classifier(run, pull_back, tuple(inputs[0].shape), dtype, preprocess or Preprocess(), description, logits)


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
    digest = hashlib.sha256(model.to_json().encode())
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()
