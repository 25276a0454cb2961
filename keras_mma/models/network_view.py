"""A mixed model without its mixing: the plain network, and the part of it that attributions use."""

import inspect

import keras
from keras import ops

from keras_mma.backend import stateless_call
from keras_mma.layers import FollowPlan, Mixer
from keras_mma.models import graph, model_inputs


class NetworkView:
    """Computes predictions and features of a network in inference mode.

    It shares the layers of the network and must not be tracked by Keras as part of another layer.

    Args:
        inputs: Symbolic images, which may be those inside a network.
        predictions: Symbolic predictions.
        tensors: For each layer by name, in the order of the network, its symbolic outputs and whether they depend on
            weights.
        data_format: Data format of the images and the feature maps.
    """

    def __init__(self, inputs, predictions, tensors, data_format):
        self.inputs = inputs
        self.tensors = tensors
        self.data_format = data_format
        self._predict = keras.Model(inputs, predictions)
        self._features = None

    def select(self, layer=None):
        """Select the layer of `features`.

        Args:
            layer: Its name; by default the last layer that returns feature maps of more than one pixel. Layers in front
                of the first weights, such as `Rescaling`, return images and are never the default.

        Raises:
            ValueError: If there is no such layer, or it does not return feature maps.
        """
        maps = [name for name, (tensor, _) in self.tensors.items() if self._is_map(tensor)]
        learned = [name for name in maps if self.tensors[name][1]]
        if layer not in maps and (layer is not None or not learned):
            raise ValueError(
                "`attribution_layer` must name a layer that returns feature maps (batch, height, width, channels), "
                f"one of {maps}; by default, it is the last of those that depend on weights, {learned}. Layers inside "
                "a nested model can be named if features are mixed inside it (`at`). "
                f"Received: attribution_layer={layer!r}"
            )
        self._features = keras.Model(self.inputs, self.tensors[learned[-1] if layer is None else layer][0])

    def resize(self, size):
        """Take square images of another size: for the features if a layer is selected, otherwise for the predictions.

        Args:
            size: Height and width in pixels.

        Raises:
            ValueError: If the network takes images of one size only, or the features would have a single pixel.
        """
        if self._features is None:
            self._predict = _resized(self._predict, size, self.data_format)
            return
        self._features = _resized(self._features, size, self.data_format)
        features = self._features.outputs[0]
        if not self._is_map(features):
            raise ValueError(
                "`detector_size` must be so large that the features of the attribution have more than one pixel. "
                f"Received: detector_size={size}, for which their shape is {tuple(features.shape)}"
            )

    def _is_map(self, tensor):
        shape = getattr(tensor, "shape", ())
        return len(shape) == 4 and (shape[1:3] if self.data_format == "channels_last" else shape[2:]) != (1, 1)

    def predictions(self, images):
        with stateless_call(self._predict):
            return self._predict(images, training=False)

    def features(self, images):
        with stateless_call(self._features):
            return self._features(images, training=False)

    def to_channels_last(self, maps):
        return maps if self.data_format == "channels_last" else ops.transpose(maps, (0, 2, 3, 1))


def _resized(model, size, data_format):
    """A model like another one that shares its layers and takes images of `size` x `size`."""
    (images,) = model.inputs
    place = slice(1, 3) if data_format == "channels_last" else slice(2, 4)
    if tuple(images.shape[place]) == (size, size):
        return model
    shape = list(images.shape)
    shape[place] = [size, size]
    called = [model.name]

    def call(path, layer, args, kwargs):
        called.append(path)
        return layer(*args, **kwargs)

    try:
        resized = keras.Input(batch_shape=shape, dtype=images.dtype)
        values = {id(images): resized}
        # A nested model would accept its own size only; its layers may accept any.
        outputs = graph.rebuild_graph(graph.output_of(model), values, call, graph.enter_all)
        result = keras.Model(resized, outputs)
        called.append(model.name)
        # Some layers state shapes without looking at their inputs. This traces what they compute, for a single image: a
        # layer that takes another number of pixels might find the rest of them in other images.
        image = keras.Input(batch_shape=[1, *shape[1:]], dtype=images.dtype)
        traced = keras.layers.Lambda(lambda x: result(x, training=False))(image)
        if any(len(output.shape) and output.shape[0] != 1 for output in keras.tree.flatten(traced)):
            raise ValueError(f"The predictions of an image must be those of one sample. Received: {traced}")
    except Exception as error:  # layers and backends raise anything for a shape that they do not take
        raise ValueError(
            "`detector_size` must be a size of images that the network takes. Networks with a dense layer on "
            "flattened maps, and most vision transformers, take their own size only: leave `detector_size` out. "
            f"Received: detector_size={size}, which {called[-1]!r} does not take"
        ) from error
    return result


def view_of(mixer, inputs, predictions):
    """The `NetworkView` of the network behind a mixer.

    Layers in front of the mixer have done their work on the images that it receives.

    Args:
        mixer: A `Mixer` whose detector is an attribution.
        inputs, predictions: Symbolic inputs and predictions of the mixed model.

    Raises:
        ValueError: If the mixer receives integers, which have no gradient, its `attribution_layer` is unknown, the
            network does not take images of its `detector_size`, or the model has several inputs.
    """
    plain, received, tensors = without_mixing(inputs, predictions)
    if len(plain.inputs) > 1:
        raise ValueError(
            f"`detector` {mixer.detector!r} requires a model with one input, because a mixer calls the network with "
            f"images alone. Received: the inputs {[source.name for source in plain.inputs]}"
        )
    if mixer.detector == "gradient" and not keras.backend.is_float_dtype(received.dtype):
        raise ValueError(
            "`detector` 'gradient' requires a model with float inputs: integers have no gradient. "
            f"Received: an input of dtype {received.dtype}"
        )
    view = NetworkView(received, plain.output, tensors, mixer.data_format)
    if mixer.detector == "activation":
        view.select(mixer.attribution_layer)
    if mixer.detector_size is not None:
        view.resize(mixer.detector_size)
    return view


def predictor_behind_mixer(inputs, predictions, data_format):
    """A function that predicts, in inference mode, from the images that a mixer received and the inputs of the model.

    Args:
        inputs, predictions: Symbolic inputs and predictions of the mixed model.
        data_format: Data format of the images.
    """
    plain, received, _ = without_mixing(inputs, predictions)
    in_front = {id(tensor) for call in graph.calls_behind(received) for tensor in call.outputs}
    others = [number for number, source in enumerate(plain.inputs) if id(source) not in in_front]
    if not others:
        view = NetworkView(received, plain.output, {}, data_format)
        return lambda images, inputs: view.predictions(images)
    view = NetworkView([received, *(plain.inputs[number] for number in others)], plain.output, {}, data_format)

    def predict(images, values):
        given = model_inputs.in_order(inputs, values)
        # Keras takes no mixture of tensors and arrays.
        return view.predictions([images, *(ops.convert_to_tensor(given[number]) for number in others)])

    return predict


def without_mixing(inputs, predictions, **call_arguments):
    """The plain model of a mixed one, and what attributions need of it.

    Args:
        inputs, predictions: Symbolic inputs and predictions of the mixed model.
        **call_arguments: Arguments with which layers that take them are called, whatever the caller of the model
            passes.

    Returns:
        The model; the symbolic images that the mixer received; and, for each layer behind the mixer, by name, its
        symbolic outputs and whether they depend on weights.
    """
    received, tensors = None, {}

    def call(path, layer, args, kwargs):
        nonlocal received
        if isinstance(layer, (*graph.MIXING, FollowPlan)):
            if isinstance(layer, Mixer):
                received, _ = graph.features_and_plan(layer, args, kwargs)
                tensors.clear()
            return graph.without_mixing(layer, args, kwargs)
        accepted = inspect.signature(layer.call).parameters.keys() & call_arguments.keys()
        outputs = layer(*args, **kwargs | {name: call_arguments[name] for name in accepted})
        # Operations such as `x[:, :5]` are not layers and have no weights.
        has_weights = isinstance(layer, keras.layers.Layer) and bool(layer.weights)
        is_learned = has_weights or any(learned for _, learned in tensors.values())
        tensors[path] = outputs, is_learned
        return outputs

    inputs, values = graph.fresh_inputs(inputs)
    return keras.Model(inputs, graph.rebuild_graph(predictions, values, call)), received, tensors
