"""A Functional model that mixes labels as its features were mixed."""

import functools
import inspect
from typing import Any

import keras

from keras_mma import label_encoding, plans
from keras_mma.backend import MultiWorkerTraining
from keras_mma.layers import arguments, input_forms, label_rules
from keras_mma.models import data_formats, encoders, graph, loss_checks, targets
from keras_mma.models.augmentation import warn_of_moved_pixels
from keras_mma.models.carried_state import CarriedState
from keras_mma.models.network_view import predictor_behind_mixer, view_of, without_mixing
from keras_mma.models.weight_files import SharedWeightFiles


def _like_functional(init):
    """Give a constructor the signature by which Keras recognizes that a class is saved and loaded like `Functional`.

    Before Keras 3.15, the constructor of `Functional` is wrapped, and only `(*args, **kwargs)` equals its signature.
    """

    @functools.wraps(init)
    def wrapper(self, *args, **kwargs):
        init(self, *args, **kwargs)

    return wrapper


def _checked(method):
    """A method of `keras.Model` that first checks the labels among its arguments, as far as their values are known."""
    signature = inspect.signature(method)

    @functools.wraps(method)
    def checked(self, *args, **kwargs):
        arguments = signature.bind(self, *args, **kwargs).arguments
        self.check_labels(arguments.get("y"))
        targets.check_class_weight(arguments.get("class_weight"), self.output[0])
        validation = arguments.get("validation_data")
        if isinstance(validation, (list, tuple)) and len(validation) > 1:
            self.check_labels(validation[1], "validation_data[1]")
        with self.run_by_keras():
            return method(self, *args, **kwargs)

    return checked


@keras.saving.register_keras_serializable("keras_mma")
class MixModel(SharedWeightFiles, MultiWorkerTraining, CarriedState, keras.Model):
    """Trains a network with mixing layers through plain `fit`, `evaluate` and `predict`.

    In training, the labels and sample weights of each batch are mixed by the plan that the features followed, and loss
    and metrics are computed from the mixed ones. Outside training, the model takes images, returns predictions and
    compares them with the original labels. A subclass that overrides `compute_loss` gets the original labels and, in
    training, `y_pred=(predictions, plan)`; `follow_plan` mixes the labels.

    The weight of a sample is mixed like its label, `weight * w + (1 - weight) * w_partner`, and multiplies the loss on
    the mixed label. `class_weight` is converted to sample weights, as in any Keras model.

    Predictions may be maps, (batch, height, width, classes). Their labels, class indices (batch, height, width) or
    shares (batch, height, width, classes), are mixed pixel by pixel by the plan's mask, and so are weights of pixels
    (batch, height, width); the weight of a sample applies to each of its pixels. `label="saliency"` and `label="sumix"`
    affect only labels that are vectors. `compile(..., ignore_class=255)` gives the pixels of that class the weight 0
    before the weights are mixed; metrics that should ignore these pixels belong in `weighted_metrics`.

    Args:
        inputs: The model's symbolic input, as for `keras.Model`. An input other than the images must go through
            `keras_mma.layers.FollowPlan`.
        outputs: A tuple `(predictions, plan)`: the symbolic predictions, a tensor or any structure of tensors
            (batch, classes) or (batch, height, width, classes), and the plan that the mixer drew and every
            `FeatureMixAdapt` updated.
        name: Name of the model.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        inputs: Images (batch, height, width, channels).
        training: Whether to mix.

    Returns:
        `(predictions, plan)` in training, the predictions otherwise.

    Raises:
        ValueError: If `outputs` is not a pair of predictions and plan; if a site of the mixer has no
            `FeatureMixAdapt`, two layers have the same site, a layer has a site that never fires, or a layer is not on
            the way to both the predictions and the plan; at `compile`, for a loss or metric that takes only class
            indices; and in training, for labels that do not fit the predictions.

    Example:

    >>> inputs = keras.Input((16, 16, 3))
    >>> x, plan = keras_mma.layers.SaliencyMix(sites=(0, 1))(inputs)
    >>> x = keras.layers.Conv2D(8, 3, activation="relu")(x)
    >>> x, plan = keras_mma.layers.FeatureMixAdapt(site=1)(x, plan)
    >>> outputs = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x))
    >>> model = keras_mma.MixModel(inputs, (outputs, plan))
    >>> model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    >>> images, labels = np.random.rand(8, 16, 16, 3), np.arange(8) % 4
    >>> history = model.fit(images, labels, verbose=0)
    >>> model.predict(images, verbose=0).shape
    (8, 4)

    References:
        - The mixed-label loss: H. Zhang et al., mixup: beyond empirical risk minimization, ICLR 2018,
          arXiv:1710.09412, section 2.
    """

    #: Class index of the pixels that do not count, for predictions that are maps; set by `compile`.
    ignore_class = None

    _get_plan_metrics = staticmethod(lambda: ())

    @_like_functional
    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, **kwargs: Any) -> None:
        is_pair = isinstance(outputs, (tuple, list)) and len(outputs) == 2
        if not is_pair or not plans.is_plan(outputs[1]):
            raise ValueError(f"`outputs` must be a pair (predictions, plan). Received: outputs={outputs}")
        predictions, plan = outputs
        plans.check(plan, keras.tree.flatten(predictions)[0].shape[0])
        graph.check_sites(predictions, plan)
        data_formats.check(predictions)
        warn_of_moved_pixels(predictions, plan)
        super().__init__(inputs, (predictions, plan), name=name, **kwargs)
        # Losses and metrics are named after the predictions; the plan has none.
        self.output_names: list[str] = self.output_names[: len(keras.tree.flatten(predictions))]
        # Attached whenever the model is built, also after loading, so that nothing is saved twice.
        mixer = graph.plan_calls(self.output[1])[0].operation
        # A closure, so that Keras does not track the layer twice.
        self._get_mixer = lambda: mixer
        for attributing in mixer.attributing_mixers():
            attributing.attach_network(view_of(attributing, self.input, self.output[0]))
        mixer.is_compared_by_model = mixer.label == "sumix"
        if mixer.is_compared_by_model:
            self._predict_clean = predictor_behind_mixer(self.input, self.output[0], mixer.data_format)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Any:
        with input_forms.following_the_plan(self.mixer) as received:
            predictions, plan = super().call(inputs, training=training, mask=mask, **kwargs)
        if received and self.mixer.is_compared_by_model:
            clean = self._predict_clean(received[-1], inputs)
            plan = {**plan, "weight": self._compare_predictions(clean, predictions, plan)}
        return (predictions, plan) if training else predictions

    def compute_output_spec(self, inputs, training=None, mask=None):
        predictions, plan = super().compute_output_spec(inputs)
        return (predictions, plan) if training else predictions

    def symbolic_call(self, *args, **kwargs):
        raise ValueError(
            "A `MixModel` cannot be a layer of another model, which would lose the plan and train on unmixed labels: "
            "nest its `inference_model()` and add mixing to the outer model. Received: a symbolic call"
        )

    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        *,
        ignore_class=None,
        **kwargs,
    ):
        loss_checks.check(loss, metrics, weighted_metrics, self.output[0], self.output_names)
        self.ignore_class = None if ignore_class is None else arguments.any_integer("ignore_class", ignore_class)
        super().compile(optimizer, loss, loss_weights, metrics, weighted_metrics, **kwargs)

    def get_compile_config(self):
        config = super().get_compile_config()
        return {**config, "ignore_class": self.ignore_class} if config and self.ignore_class is not None else config

    def compile_from_config(self, config):
        # Keras restores only its own `compile` automatically.
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    # Compiled steps cannot raise: a class index out of range makes the loss NaN and, one step later, the weights.
    fit = _checked(keras.Model.fit)
    evaluate = _checked(keras.Model.evaluate)
    train_on_batch = _checked(keras.Model.train_on_batch)
    test_on_batch = _checked(keras.Model.test_on_batch)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        y, y_pred, sample_weight = self.follow_plan(y, y_pred, sample_weight)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        if isinstance(y_pred, (tuple, list)) and plans.is_plan(y_pred[-1]):
            for metric in self._get_plan_metrics():
                metric.update_state(y_pred[-1])
        y, y_pred, sample_weight = self.follow_plan(y, y_pred, sample_weight)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    @property
    def metrics(self):
        return [*super().metrics, *self._get_plan_metrics()]

    def set_plan_metrics(self, *metrics):
        """Set metrics, for callbacks, whose `update_state` receives the plan of each training step."""
        # A closure, so that Keras does not make them a part of the model that is saved.
        self._get_plan_metrics = lambda: metrics
        if self.train_function is not None:  # which `fit` makes before callbacks begin
            self.make_train_function(force=True)
        if self.test_function is not None and keras.distribution.distribution() is not None:
            self.make_test_function(force=True)  # compiled for the shardings of a fixed number of metrics

    @property
    def plan_metrics(self):
        """These metrics; a callback passes on those that are not its own."""
        return self._get_plan_metrics()

    @property
    def mixer(self):
        """The `Mixer` of the model. Its `probability` and `alpha` can be assigned during training."""
        return self._get_mixer()

    def follow_plan(self, y, y_pred, sample_weight=None):
        """Encode labels and, in training, mix labels and sample weights as the features were mixed.

        `compute_loss` and `compute_metrics` call it; call it in your own training step, or in a subclass that overrides
        one of these methods.

        Args:
            y: Labels of the batch: integers, one-hot or soft labels for each head, vectors or maps.
            y_pred: What the model returned: `(predictions, plan)` in training, the predictions otherwise.
            sample_weight: Sample weights, or `None`.

        Returns:
            `(y, predictions, sample_weight)`, where the labels are float32 vectors or maps. Pixels of the class
            `ignore_class`, an argument of `compile` or an attribute, have the weight 0.
        """
        plan = None
        if isinstance(y_pred, (tuple, list)) and len(y_pred) == 2 and plans.is_plan(y_pred[1]):
            y_pred, plan = y_pred
        if y is None:
            return y, y_pred, sample_weight
        encoded = targets.encode(y, y_pred, self.output_names, self.ignore_class)
        if plan is not None:
            targets.refuse_moved_maps(encoded, self.mixer)
        y, sample_weight = targets.follow(encoded, sample_weight, y_pred, self.output_names, plan)
        return y, y_pred, sample_weight

    def inference_model(self):
        """A plain Functional model from images to predictions with the same weights and no layer of this package.

        A network with layers of KerasHub is a single layer of it, because some of them can only be loaded from a file
        as part of their backbone. A mixed model that was itself loaded from a file does not have this network.
        """
        plain = without_mixing(self.input, self.output[0])[0]
        if self._network is None or not any(map(encoders.is_of_hub, plain.layers)):
            return plain
        inputs = graph.fresh_inputs(self.input)[0]
        return keras.Model(inputs, self._network()(inputs))

    def export(self, filepath, format="tf_saved_model", **kwargs):
        """Export `inference_model()` in inference mode; the arguments are those of `keras.Model.export`.

        Raises:
            RuntimeError: If Keras cannot write a SavedModel on the torch backend; the message describes a workaround.
        """
        # Some layers of Keras, such as `RandomFlip`, are active unless they are called with `training=False`.
        plain = without_mixing(self.input, self.output[0], training=False)[0]
        # Keras does not write some formats for a model that was never called.
        plain(keras.tree.map_structure(lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype), plain.input))
        try:
            return plain.export(filepath, format=format, **kwargs)
        except Exception as error:
            if format != "tf_saved_model" or keras.backend.backend() != "torch":
                raise
            raise RuntimeError(
                "`format='tf_saved_model'` needs the tensorflow or the jax backend with this version of Keras. Save "
                "the model here, `model.save('model.keras')`, and export it there: KERAS_BACKEND=tensorflow python -c "
                "\"import keras, keras_mma; keras.models.load_model('model.keras').export('saved_model')\". "
                "Received: the torch backend"
            ) from error

    def check_labels(self, y, name="y"):
        """Raise a `ValueError` if labels whose values are known are out of range, or are strings.

        `fit` and `evaluate` call it before a step changes the weights. A `tf.data.Dataset` is not read for it.
        """
        if isinstance(y, (dict, list, tuple)) or hasattr(y, "shape"):
            label_encoding.refuse_strings(y, name)
        if y is None or not all(leaf is None or hasattr(leaf, "shape") for leaf in keras.tree.flatten(y)):
            return
        targets.check(y, self.output[0], self.output_names, self.ignore_class, name)

    def _compare_predictions(self, clean, predictions, plan):
        """The label's share for `label="sumix"`: the mean over the heads whose labels are vectors."""
        heads = zip(*map(keras.tree.flatten, (clean, predictions)), strict=True)
        vectors = [head for head in heads if not targets.is_map(head[0])]
        weights = [label_rules.sumix_weight(plan["weight"], *head, plan["partner"]) for head in vectors]
        return sum(weights) / len(weights) if weights else plan["weight"]
