"""SavedModel, ONNX and LiteRT files: other runtimes compute the same predictions."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma import layers
from tests.pictures import blobs

BACKEND = keras.backend.backend()


@pytest.fixture(scope="module")
def images():
    return blobs(np.random.default_rng(7), 6, 16, 16).astype("float32")


@pytest.fixture(scope="module")
def model(images):
    keras.utils.set_random_seed(0)
    network = keras_mma.models.WideResNet(10, 1, classes=4, input_shape=(16, 16, 3))
    mixed = keras_mma.mixify(network, layers.SaliencyMix(seed=1))
    mixed.compile(keras.optimizers.SGD(1e-2), keras.losses.CategoricalCrossentropy(from_logits=True))
    mixed.fit(images, np.arange(6) % 4, verbose=0)
    return mixed


@pytest.mark.skipif(BACKEND == "torch", reason="Keras writes no SavedModel on PyTorch")
def test_a_saved_model_predicts_the_same(model, images, tmp_path):
    tf = pytest.importorskip("tensorflow")
    model.export(tmp_path / "saved", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "saved"))
    expected = model.predict(images, verbose=0)
    np.testing.assert_allclose(served.serve(tf.constant(images)), expected, atol=1e-5)
    np.testing.assert_allclose(served.serve(tf.constant(images[:1])), expected[:1], atol=1e-5)
    signature = served.signatures["serving_default"]
    (output,) = signature(tf.constant(images)).values()
    np.testing.assert_allclose(output, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "torch", reason="the other backends write SavedModels")
def test_the_command_in_the_error_on_torch_works(model, images, tmp_path):
    with pytest.raises(RuntimeError, match="needs the tensorflow or the jax backend.* Received: the torch") as error:
        model.export(tmp_path / "saved", verbose=False)
    code = str(error.value).split('python -c "')[1].split('".')[0]
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    code += (
        "; import numpy, tensorflow; served = tensorflow.saved_model.load('saved_model'); "
        "numpy.save('predictions.npy', served.serve(tensorflow.constant(numpy.load('images.npy'))))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    np.testing.assert_allclose(
        np.load(tmp_path / "predictions.npy"), model.predict(images, verbose=0), rtol=1e-4, atol=1e-4
    )


@pytest.mark.skipif(BACKEND == "jax", reason="on JAX, Keras needs another package to write ONNX")
def test_an_onnx_file_predicts_the_same(model, images, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (predictions,) = session.run(None, {session.get_inputs()[0].name: images})
    np.testing.assert_allclose(predictions, model.predict(images, verbose=0), atol=1e-4)


@pytest.mark.skipif(
    tuple(map(int, keras.__version__.split(".")[:2])) < (3, 13), reason="Keras exports to LiteRT since 3.13"
)
def test_a_litert_file_predicts_the_same(needs_tensorflow, model, images, tmp_path):
    import tensorflow as tf

    model.export(tmp_path / "model.tflite", format="litert", verbose=False)
    interpreter = tf.lite.Interpreter(str(tmp_path / "model.tflite"))
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(entry["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(entry["index"], images)
    interpreter.invoke()
    np.testing.assert_allclose(interpreter.get_tensor(result["index"]), model.predict(images, verbose=0), atol=1e-4)


def test_other_errors_of_export_propagate(model, tmp_path):
    with pytest.raises(ValueError, match="[Uu]nrecognized format"):
        model.export(tmp_path / "model", format="papyrus")


@pytest.mark.parametrize("export_format", ["tf_saved_model", "onnx"])
def test_arguments_and_errors_of_export_are_passed_on(model, monkeypatch, export_format):
    received = []

    def export(plain, filepath, format, **kwargs):
        received.append((type(plain), filepath, format, kwargs))
        raise OSError("no space")

    monkeypatch.setattr(keras.Model, "export", export)
    # Keras cannot write a SavedModel on PyTorch, whatever the error says.
    explained = BACKEND == "torch" and export_format == "tf_saved_model"
    with pytest.raises(
        RuntimeError if explained else OSError, match="Received: the torch" if explained else "no space"
    ):
        model.export("folder", format=export_format, verbose=False)
    ((kind, *rest),) = received
    assert kind is not type(model) and rest == ["folder", export_format, {"verbose": False}]
