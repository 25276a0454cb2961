"""Any image classifier: pixels in, an array of outputs out, and its gradient where it has one."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_mma.errors import InputError, first_line
from keras_mma.robustness.classifier import conventions
from keras_mma.robustness.classifier.conventions import Preprocess
from keras_mma.robustness.clock import Clock


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

    def __init__(
        self,
        run: Callable,
        pull_back: Callable | None,
        input_shape: Sequence[int | None],
        dtype: str,
        preprocess: Preprocess,
        description: dict,
        logits: Callable = lambda: None,
    ) -> None:
        self._run, self._pull_back, self._logits = run, pull_back, logits
        # What is attacked: the outputs, or the logits from which they come.
        self._is_inferred = False
        self.attacked, self._attacked_pull_back = "outputs", pull_back
        self.input_shape, self.dtype, self.preprocess = tuple(input_shape), dtype, preprocess
        self.description = description
        self.kind: Any = None  # "logits" or "probabilities", which `check` decides
        self.clock = Clock()
        height, width, channels = self.input_shape[1:]
        self._channels_first = height in (1, 3) and channels not in (1, 3)

    @property
    def image_shape(self) -> tuple:
        """Height, width and channels of the images that the model takes, `None` where any number is accepted."""
        shape = self.input_shape[1:]
        return (*shape[1:], shape[0]) if self._channels_first else shape

    def check(self, pixels: np.ndarray, classes: int, exact: bool, kind: str | None = None) -> None:
        """Refuse a model that does not fit the dataset, and decide whether its outputs are logits or probabilities.

        Args:
            pixels: Images (n, height, width, channels) 0 to 255, n at least 1.
            classes: Number of classes of the dataset.
            exact: Whether to refuse a model with more outputs than classes.
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
        self._to_inputs(np.array([0, 255]).reshape(2, 1, 1, 1))  # if not these images, corrupted ones have such pixels
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
        self._is_inferred = kind is None
        if kind is None:
            self.kind, why = conventions.decide_outputs(values)
        else:
            conventions.check_outputs(values, kind)
            self.kind, why = kind, "as `outputs` says"
        self.description |= {"classes": received, "outputs": self.kind, "outputs_decided": why}

    def batch_size(self, size: int) -> int:
        """The number of images at once for which the model fills its batches: `size`, or the nearest multiple below.

        A model that was exported for larger batches has its own size.
        """
        fixed = self.input_shape[0] or 1
        return max(1, size // fixed) * fixed

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """Outputs (n, classes) of images (n, height, width, channels) 0 to 255, as an array."""
        values = self._predict(self._run, pixels)
        if self.kind == "probabilities" and len(values) and np.isfinite(values).all():
            if self._is_inferred and not conventions.are_probabilities(values):
                raise InputError(
                    "`outputs` must be given, because the first outputs look like probabilities and later ones do not. "
                    f"Received: outputs from {values.min():.4g} to {values.max():.4g}"
                )
            conventions.check_outputs(np.clip(values, 0, None) if self._is_inferred else values, self.kind)
        return conventions.two_columns(values, self.kind)

    def _predict(self, run, pixels):
        def timed(inputs):
            with self.clock.measure("forward"):
                return (np.asarray(run(inputs)),)

        return _standard(self._in_batches(self._to_inputs(pixels), timed)[0])

    def probabilities(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and their logarithms, each (n, classes) float64."""
        values = self.predict(pixels)
        if not np.isfinite(values).all():
            raise InputError("the model's outputs must be finite. Received: NaN or infinity")
        return conventions.to_probabilities(values, self.kind)

    def attack_gradient(self, pixels: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The gradient with respect to the pixels of the loss that attacks increase; see `conventions.margin_gradient`.

        Args:
            pixels: Float images (n, height, width, channels) 0 to 255.
            labels: Class indices (n,).

        Returns:
            The attacked outputs (n, classes) and a float32 gradient like the images.
        """
        kind = self.kind if self.attacked == "outputs" else "logits"

        def run(inputs, labels):
            with self.clock.measure("gradient"):
                return self._attacked_pull_back(
                    inputs, lambda values: conventions.margin_gradient(values, labels, kind)
                )

        values, gradient = self._in_batches(self._to_inputs(pixels), run, labels)
        # As if nothing reached the pixels: the report counts such images, and warns of them.
        is_finite = np.isfinite(gradient).all(axis=(1, 2, 3), keepdims=True)
        gradient = np.where(is_finite, gradient, np.zeros_like(gradient))
        if self._channels_first:
            gradient = gradient.transpose(0, 2, 3, 1)
        return conventions.two_columns(_standard(values), kind), self.preprocess.pull_back(gradient)

    def why_no_gradient(self, pixels: np.ndarray, labels: np.ndarray) -> str | None:
        """`None` if gradients reach the pixels, otherwise the reason in one line."""
        if np.dtype(self.dtype).kind in "iu":
            return f"the model takes {self.dtype}, through which no gradient flows"
        if self._pull_back is None:
            return "the classifier has no `pull_back`, which computes gradients"
        try:
            self._find_logits(pixels)
        except Exception:  # the outputs themselves are attacked then
            self.attacked = "outputs"
        try:
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
            self._check_range(inputs)
        return inputs.astype(self.dtype)

    def _check_range(self, inputs):
        """Refuse numbers that would wrap around in the integers that the model takes."""
        if inputs.size == 0:
            return
        held, low, high = np.iinfo(self.dtype), float(inputs.min()), float(inputs.max())
        if low < held.min or high > held.max:
            raise InputError(
                f"the model takes {self.dtype}, {held.min} to {held.max}: `preprocess` must map pixels into this "
                f"range. Received: {low:.6g} to {high:.6g}, with preprocessing {self.preprocess}"
            )

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


def _standard(values):
    """Outputs in a dtype of NumPy, which has no bfloat16 of its own."""
    return values.astype("float32") if values.dtype.name == "bfloat16" else values
