"""Models from files: what is accepted, what it gives, and what is refused in one line."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma.robustness import Classifier, InputError, Preprocess, load
from keras_mma.robustness.classifier import from_keras
from tests.robustness import networks


def saved_model(path, function, shape=(None, 16, 16, 3), dtype="float32"):
    """A SavedModel of a TensorFlow function."""
    import tensorflow as tf

    module = tf.Module()
    module.call = tf.function(function, input_signature=[tf.TensorSpec(shape, dtype)])
    tf.saved_model.save(module, path, signatures=module.call)
    return path


def channel_means(images):
    """Three outputs, which are logits."""
    import tensorflow as tf

    return tf.reduce_mean(tf.cast(images, tf.float32), (1, 2)) - 100.0


@pytest.mark.parametrize("form", ["export", "tf.saved_model.save", "keras file"])
def test_every_form_predicts_what_the_model_does(needs_tensorflow, tmp_path, form):
    import tensorflow as tf

    network, images = networks.untrained(), networks.pictures(9)
    path = tmp_path / ("model.keras" if form == "keras file" else "saved_model")
    if form == "export":
        network.export(path, verbose=False)
    elif form == "keras file":
        network.save(path)
    else:
        tf.saved_model.save(network, path)
    classifier = load(path)
    classifier.check(images, 4, True)
    assert classifier.image_shape == (16, 16, 3) and classifier.dtype == "float32" and classifier.kind == "logits"
    assert classifier.predict(images) == pytest.approx(network.predict(images, verbose=0), abs=1e-5)
    assert classifier.why_no_gradient(images, np.zeros(9, int)) is None
    check_gradient(classifier, images[:2])
    assert len(classifier.description["sha256"]) == 64
    assert load(path).description["sha256"] == classifier.description["sha256"]


def check_gradient(classifier, images):
    """The gradient of log(sum of the others) - log(own) by finite differences of a few pixels."""
    labels = np.arange(len(images))
    _, gradient = classifier.attack_gradient(images.astype("float32"), labels)

    def losses(pixels):
        probabilities, _ = classifier.probabilities(pixels)
        own = probabilities[np.arange(len(labels)), labels]
        return np.log((1 - own) / own)

    for place in [(0, 0, 0), (3, 8, 1), (9, 2, 2)]:
        step = np.zeros(images.shape, "float32")
        step[(slice(None), *place)] = 8.0
        slope = (losses(images + step) - losses(images - step)) / 16
        assert gradient[(slice(None), *place)] == pytest.approx(slope, rel=0.15, abs=2e-4)
    assert gradient.any()


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_a_keras_model_on_any_backend(tmp_path, activation):
    network, images = networks.untrained(activation=activation), networks.pictures(9)
    network.save(tmp_path / "model.keras")
    classifier = load(tmp_path / "model.keras")
    classifier.check(images, 4, True)
    assert classifier.kind == ("probabilities" if activation else "logits")
    assert classifier.predict(images) == pytest.approx(network.predict(images, verbose=0), abs=1e-5)
    check_gradient(classifier, images[:2])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
@pytest.mark.parametrize("activation", [None, "softmax"])
def test_half_precision(needs_tensorflow, tmp_path, policy, activation):
    network, images, labels = networks.untrained(activation=activation), networks.pictures(9), np.arange(9) % 4
    keras.config.set_dtype_policy(policy)
    half = networks.untrained(activation=activation)
    half.set_weights(network.get_weights())
    half.export(tmp_path / "model", verbose=False)
    in_memory, classifier = from_keras(network), load(tmp_path / "model")
    for either in (in_memory, classifier):
        either.check(images, 4, True)
    assert classifier.kind == in_memory.kind and classifier.why_no_gradient(images, labels) is None
    assert classifier.probabilities(images)[0] == pytest.approx(in_memory.probabilities(images)[0], abs=0.05)
    directions = [
        np.sign(either.attack_gradient(images.astype("float32"), labels)[1]) for either in (in_memory, classifier)
    ]
    assert (directions[0] == directions[1]).mean() > 0.9


@pytest.mark.slow
def test_a_saved_model_of_the_jax_backend(needs_tensorflow, tmp_path):
    script = (
        "import keras, numpy, sys; from tests.robustness import networks; network = networks.untrained();"
        "network.export(sys.argv[1] + '/saved_model', verbose=False);"
        "numpy.save(sys.argv[1] + '/outputs.npy', network.predict(networks.pictures(5), verbose=0))"
    )
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    classifier, images = load(tmp_path / "saved_model"), networks.pictures(5)
    classifier.check(images, 4, True)
    assert classifier.predict(images) == pytest.approx(np.load(tmp_path / "outputs.npy"), abs=1e-5)
    assert classifier.why_no_gradient(images, np.zeros(5, int)) is None
    check_gradient(classifier, images[:2])


def test_python_code_in_a_file_is_not_run(tmp_path):
    inputs = keras.Input((16, 16, 3))
    means = keras.layers.Lambda(lambda x: keras.ops.mean(x, (1, 2)) - 100.0)(inputs)
    keras.Model(inputs, means).save(tmp_path / "model.keras")
    with pytest.raises(InputError, match=r"model.keras cannot be loaded by Keras: .*"):
        load(tmp_path / "model.keras")
    root = Path(keras_mma.__file__).parent
    unsafe = "safe_mode|unsafe_deserialization|allow_pickle=True|weights_only=False"
    assert not [path for path in root.rglob("*.py") if re.search(unsafe, path.read_text())]


@pytest.mark.parametrize("size", [1, 4])
def test_a_fixed_batch_is_filled_up(needs_tensorflow, tmp_path, size):
    images = networks.pictures(7)
    classifier = load(saved_model(tmp_path, channel_means, (size, 16, 16, 3)))
    classifier.check(images, 3, True)
    assert classifier.predict(images) == pytest.approx(images.mean((1, 2)) - 100, abs=1e-3)
    outputs, gradient = classifier.attack_gradient(images.astype("float32"), np.zeros(7, int))
    assert outputs.shape == (7, 3) and gradient.shape == images.shape


def test_a_model_of_a_fixed_batch_is_called_with_that_size(rng):
    inputs = keras.Input(batch_shape=(6, 8, 8, 3))
    pairs = keras.layers.Lambda(lambda x: keras.ops.reshape(x, (3, 2, 64, 3)))(inputs)
    means = keras.layers.Lambda(lambda x: keras.ops.reshape(keras.ops.mean(x, 2), (6, 3)) - 150.0)(pairs)
    classifier, images = from_keras(keras.Model(inputs, means)), rng.integers(0, 256, (7, 8, 8, 3), "uint8")
    classifier.check(images, 3, True)
    assert classifier.predict(images) == pytest.approx(images.mean((1, 2)) - 150, abs=1e-3)
    assert classifier.why_no_gradient(images, np.zeros(7, int)) is None


def test_channels_first(needs_tensorflow, tmp_path):
    import tensorflow as tf

    images = networks.pictures(5)
    path = saved_model(tmp_path, lambda x: tf.reduce_mean(x, (2, 3)) * [1.0, 2.0, 3.0] - 100.0, (None, 3, 16, 16))
    classifier = load(path)
    classifier.check(images, 3, True)
    assert classifier.image_shape == (16, 16, 3)
    assert classifier.predict(images) == pytest.approx(images.mean((1, 2)) * [1, 2, 3] - 100, abs=1e-2)
    _, gradient = classifier.attack_gradient(images.astype("float32"), np.full(5, 2))
    assert gradient.shape == images.shape and (gradient[..., 2] < 0).all() and (gradient[..., 0] >= 0).all()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((3, None, None), (None, None, 3)),
        ((1, None, 16), (None, 16, 1)),
        ((None, None, 3), (None, None, 3)),
        ((16, None, 1), (16, None, 1)),
        ((None, None, None), (None, None, None)),
    ],
)
def test_channels_come_first_where_the_first_size_says_so(shape, expected):
    assert Classifier(None, None, (None, *shape), "float32", Preprocess(), {}).image_shape == expected


def test_channels_first_of_any_size():
    inputs, images = keras.Input((3, None, None)), networks.pictures(2, 20, 24)
    classifier = from_keras(keras.Model(inputs, keras.ops.mean(inputs, axis=(2, 3)) - 100.0))
    classifier.check(images, 3, True)
    assert classifier.predict(images) == pytest.approx(images.mean((1, 2)) - 100, abs=1e-3)


def test_any_size_where_the_signature_leaves_it_open(needs_tensorflow, tmp_path):
    classifier = load(saved_model(tmp_path, channel_means, (None, None, None, 3)))
    classifier.check(networks.pictures(2, 20, 24), 3, True)
    assert classifier.description["classes"] == 3


@pytest.mark.parametrize(
    ("function", "dtype", "reason"),
    [
        (channel_means, "uint8", "takes uint8, through which no gradient flows"),
        (lambda x: channel_means(_tf().stop_gradient(x) + 0.0 * x), "float32", "zero everywhere"),
        (lambda x: channel_means(_tf().cast(x, "int32")), "float32", "gives no gradient"),
    ],
)
def test_models_without_gradient_say_so(needs_tensorflow, tmp_path, function, dtype, reason):
    images = networks.pictures(4)
    classifier = load(saved_model(tmp_path, function, dtype=dtype))
    classifier.check(images, 3, True)
    assert classifier.predict(images) == pytest.approx(images.mean((1, 2)) - 100, abs=1e-3)
    assert reason in classifier.why_no_gradient(images, np.zeros(4, int))


@pytest.mark.parametrize(
    ("dtype", "words", "match"),
    [
        ("int8", [], "takes int8, -128 to 127: `preprocess` must .* Received: 0 to 255, with preprocessing none"),
        ("uint8", ["scale=1/255", "mean=0.5", "std=0.5"], "takes uint8, 0 to 255: .* Received: -1 to 1, with"),
        ("int32", ["scale=1e9"], "takes int32, -2147483648 to 2147483647"),
        ("int8", ["mean=128"], None),
        ("uint8", [], None),
    ],
)
def test_pixels_that_an_integer_model_cannot_hold_are_refused(dtype, words, match):
    """They would wrap around: 255 as int8 is -1."""

    def run(inputs):
        assert inputs.dtype == dtype
        return inputs.mean((1, 2)) - 150.0

    classifier = Classifier(run, None, (None, 16, 16, 3), dtype, Preprocess.parse(words), {})
    images = networks.pictures(4)
    if match is None:
        classifier.check(images, 3, True)
        assert classifier.predict(images) == pytest.approx(images.mean((1, 2)) - (150 + 128 * len(words)), abs=1e-3)
        return
    with pytest.raises(InputError, match=match):
        classifier.check(images // 4, 3, True)  # none of these is bright: others will be
    images[0], images[1] = 0, 255
    with pytest.raises(InputError, match=match):
        classifier.predict(images)


def _tf():
    import tensorflow as tf

    return tf


def test_the_preprocessing_is_part_of_the_classifier(needs_tensorflow, tmp_path):
    images = networks.pictures(4)
    path = saved_model(tmp_path, lambda x: _tf().reduce_mean(x, (1, 2)) - 0.4)
    classifier = load(path, preprocess=Preprocess.parse(["scale=1/255", "order=bgr"]))
    classifier.check(images, 3, True)
    assert classifier.predict(images) == pytest.approx(images.mean((1, 2))[:, ::-1] / 255 - 0.4, abs=1e-4)


def test_a_changed_model_has_another_hash(tmp_path):
    hashes = set()
    for rescale in (1.0, 2.0):
        networks.untrained(rescale=rescale).save(tmp_path / "model.keras")
        hashes.add(load(tmp_path / "model.keras").description["sha256"])
    assert len(hashes) == 2


def checked(path, pixels, classes=3, exact=True, kind=None):
    load(path).check(pixels, classes, exact, kind)


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "text.txt").write_text("no model")
    (tmp_path / "broken.keras").write_text("no model")
    for path, match in [
        (
            tmp_path / "nowhere",
            "must be the folder of a SavedModel or a .keras file. Received: .*nowhere, which does not exist",
        ),
        (tmp_path, "a folder without saved_model.pb"),
        (tmp_path / "text.txt", "another kind of file"),
        (tmp_path / "broken.keras", "cannot be loaded by Keras"),
    ]:
        with pytest.raises(InputError, match=match) as caught:
            load(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="`signature` does not apply to a Keras file"):
        load(tmp_path / "broken.keras", signature="serve")


def test_signatures_that_do_not_fit_are_refused(needs_tensorflow, tmp_path):
    tf = _tf()
    spec = tf.TensorSpec((None, 16, 16, 3))
    module = tf.Module()
    tf.saved_model.save(module, tmp_path / "none")
    module.two = tf.function(lambda a, b: channel_means(a + b), input_signature=[spec, spec])
    module.pair = tf.function(lambda a: {"a": channel_means(a), "b": a}, input_signature=[spec])
    module.text = tf.function(lambda a: tf.strings.length(a), input_signature=[tf.TensorSpec((None,), tf.string)])
    module.one = tf.function(channel_means, input_signature=[spec])
    names = {"two": module.two, "pair": module.pair, "text": module.text, "one": module.one}
    tf.saved_model.save(module, tmp_path / "all", signatures=names)
    tf.saved_model.save(module, tmp_path / "only", signatures={"mine": module.one})
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "saved_model.pb").write_bytes(b"damaged")
    for path, signature, match in [
        ("none", None, "must have a serving signature"),
        ("all", None, "`signature` must be one of .* has no serving_default"),
        ("all", "three", "`signature` must be one of"),
        ("all", "two", "must take one batch of images. Received inputs: .*'a', 'b'"),
        ("all", "pair", "must have one output, or `output_name` must choose one. Received outputs: .*'a', 'b'"),
        ("all", "text", r"must take images \(batch, height, width, channels\). Received: string"),
        ("damaged", None, "cannot be loaded by TensorFlow"),
    ]:
        with pytest.raises(InputError, match=match) as caught:
            load(tmp_path / path, signature)
        assert "\n" not in str(caught.value)
    assert load(tmp_path / "all", "one").description["signature"] == "one"
    assert load(tmp_path / "only").description["signature"] == "mine"


@pytest.mark.parametrize("form", ["keras", "SavedModel"])
def test_one_of_several_outputs(tmp_path, form):
    images = networks.pictures(5)
    inputs = keras.Input((16, 16, 3))
    means = keras.ops.mean(inputs, axis=(1, 2)) - 100.0
    several = keras.Model(inputs, {"other": means[:, :2], "logits": means, "map": inputs})
    if form == "SavedModel":
        if keras.backend.backend() != "tensorflow":
            pytest.skip("needs the tensorflow backend")
        several.export(tmp_path / "model", verbose=False)

    def classifier(name=None):
        return from_keras(several, output_name=name) if form == "keras" else load(tmp_path / "model", output_name=name)

    with pytest.raises(
        InputError, match=r"or `output_name` must choose one. Received outputs: \['logits', 'map', 'other'\]"
    ):
        classifier()
    with pytest.raises(InputError, match=r"`output_name` must be one of \['logits', .* Received: output_name='labels'"):
        classifier("labels")
    for name, classes in (("logits", 3), ("other", 2)):
        chosen = classifier(name)
        chosen.check(images, classes, True)
        assert chosen.description["output_name"] == name
        assert chosen.predict(images) == pytest.approx(images.mean((1, 2))[:, :classes] - 100, abs=1e-3)
        assert chosen.why_no_gradient(images, np.zeros(5, int)) is None


@pytest.mark.parametrize("last", ["dense", "activation", "layer", "operation", "nested", "sigmoid"])
def test_logits_are_found_behind_a_softmax(last):
    images = networks.pictures(5)
    body = networks.untrained(activation=None, classes=1 if last == "sigmoid" else 4)
    inputs = keras.Input((16, 16, 3))
    logits = body(inputs)
    outputs = {
        "activation": lambda: keras.layers.Activation("softmax")(logits),
        "layer": lambda: keras.layers.Softmax()(logits),
        "operation": lambda: keras.ops.softmax(logits),
        "sigmoid": lambda: keras.ops.sigmoid(logits),
        "nested": lambda: networks.untrained(activation="softmax")(inputs),
        "dense": lambda: keras.layers.Dense(4, activation="softmax")(keras.layers.Flatten()(inputs) / 255),
    }[last]()
    classifier = from_keras(keras.Model(inputs, outputs))
    classifier.check(images, 2 if last == "sigmoid" else 4, True)
    through_outputs = classifier.attack_gradient(images.astype("float32"), np.zeros(5, int))[1]
    assert classifier.attacked == "outputs"
    assert classifier.why_no_gradient(images, np.zeros(5, int)) is None and classifier.attacked == "logits"
    through_logits = classifier.attack_gradient(images.astype("float32"), np.zeros(5, int))[1]
    assert through_logits == pytest.approx(through_outputs, rel=1e-2, abs=1e-4 * float(np.abs(through_outputs).max()))


def test_a_model_is_identified_by_what_it_computes():
    network = networks.untrained((16, 16, 3), 4)
    before = from_keras(network).description["sha256"]
    network.compile("adam", loss=functools.partial(keras.losses.mean_squared_error))
    assert from_keras(network).description["sha256"] == before
    network.set_weights([weight + 1 for weight in network.get_weights()])
    assert from_keras(network).description["sha256"] != before


def test_a_model_that_cannot_be_serialized_is_measured():
    class Shift(keras.layers.Layer):
        def __init__(self, by):
            super().__init__()
            self.by = by

        def call(self, inputs):
            return inputs + self.by

        def get_config(self):
            raise NotImplementedError

    inputs = keras.Input((16, 16, 3))
    models = [keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(Shift(by)(inputs))) for by in (1.0, 2.0)]
    first, second = (from_keras(model).description["sha256"] for model in models)
    assert len(first) == len(second) == 64 and first != second


def test_keras_models_that_do_not_fit_are_refused():
    class Subclassed(keras.Model):
        pass

    with pytest.raises(InputError, match="must be Functional or Sequential .* as a SavedModel. Received: Subclassed"):
        from_keras(Subclassed())
    first, second = keras.Input((16, 16, 3)), keras.Input((16, 16, 3))
    with pytest.raises(InputError, match="must be Functional or Sequential and take one batch of images"):
        from_keras(keras.Model([first, second], first + second))
    with pytest.raises(
        InputError, match="must have one output, or `output_name` must choose one. Received outputs: .*'0', '1'"
    ):
        from_keras(keras.Model(first, [first, first * 2]))
    flat = keras.Input((10,))
    with pytest.raises(InputError, match=r"Received: Functional with inputs \[\(None, 10\)\]"):
        from_keras(keras.Model(flat, flat * 2))


def test_data_and_outputs_that_do_not_fit_are_refused(needs_tensorflow, tmp_path):
    tf = _tf()
    images = networks.pictures(4)
    good = saved_model(tmp_path / "good", channel_means)
    with pytest.raises(InputError, match=r"takes images of 16 x 16 x 3 .*Received images of 20 x 16 x 3"):
        checked(good, networks.pictures(2, 20, 16))
    with pytest.raises(InputError, match="Received images of 16 x 16 x 1"):
        checked(good, networks.pictures(2, channels=1))
    with pytest.raises(InputError, match="have the 10 classes of the dataset. Received: 3 classes"):
        checked(good, images, 10)
    with pytest.raises(InputError, match="have the 2 classes of the dataset. Received: 3 classes"):
        checked(good, images, 2)
    checked(good, images, 2, exact=False)
    for name, function, match in [
        ("sigmoid", lambda x: tf.sigmoid(channel_means(x) / 100), "must be logits or probabilities, because"),
        ("class", lambda x: tf.argmax(channel_means(x), 1), "must be floats .*Received: int64"),
        ("map", lambda x: x, r"must be floats .*shape \(4, 16, 16, 3\)"),
        ("nan", lambda x: tf.math.log(channel_means(x) * 0 - 1), "must be finite"),
    ]:
        path = saved_model(tmp_path / name, function)
        with pytest.raises(InputError, match=match):
            checked(path, images)
    checked(tmp_path / "sigmoid", images, kind="probabilities")
    checked(tmp_path / "sigmoid", images, kind="logits")


def test_outputs_that_later_batches_contradict_are_refused(tmp_path):
    """Logits of a first batch may lie in [0, 1] by chance."""
    inputs = keras.Input((16, 16, 3))
    logit = keras.layers.Rescaling(1 / 50, offset=-1)(keras.layers.GlobalAveragePooling2D()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")(logit))
    classifier = from_keras(model)
    images = np.zeros((2, 16, 16, 3), "uint8")
    images[0] += 60
    classifier.check(images[:1], 2, True)
    assert classifier.kind == "probabilities"
    with pytest.raises(InputError, match="`outputs` must be given, because the first outputs look like probabilities"):
        classifier.probabilities(images)


def test_an_image_without_a_finite_gradient_is_left_as_it_is(monkeypatch, rng):
    classifier = from_keras(networks.untrained(classes=3, activation="softmax"))
    images = rng.integers(0, 256, (3, 16, 16, 3), dtype="uint8")
    classifier.check(images, 3, True)
    pull_back = classifier._attacked_pull_back

    def broken(*arguments):
        values, gradient = pull_back(*arguments)
        gradient = np.array(gradient)
        gradient[1, 2, 3] = np.nan
        return values, gradient

    monkeypatch.setattr(classifier, "_attacked_pull_back", broken)
    _, gradient = classifier.attack_gradient(images.astype("float32"), np.array([0, 1, 2]))
    assert np.isfinite(gradient).all() and gradient[0].any() and not gradient[1].any() and gradient[2].any()


def test_without_logits_the_outputs_are_attacked(monkeypatch, rng):
    classifier = from_keras(networks.untrained(classes=3, activation="softmax"))

    def fail():
        raise TypeError("the head cannot be copied")

    monkeypatch.setattr(classifier, "_logits", fail)
    images = rng.integers(0, 256, (3, 16, 16, 3), dtype="uint8")
    classifier.check(images, 3, True)
    assert classifier.why_no_gradient(images, np.array([0, 1, 2])) is None and classifier.attacked == "outputs"
