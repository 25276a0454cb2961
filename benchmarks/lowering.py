"""Lower the training step for accelerators that need not be there, and look for what they could not run.

    KERAS_BACKEND=jax python -m benchmarks.lowering --output docs/results/lowering.json
    KERAS_BACKEND=tensorflow python -m benchmarks.lowering --output docs/results/lowering-tensorflow.json

On JAX, the step (mixing, forward, backward, update) is exported for `tpu` and `cuda`, traced as on a machine with an
accelerator. On TensorFlow it is translated to XLA's language, which fails for an operation that has no XLA kernel.
Nothing is compiled, run or timed.
"""

import argparse
import contextlib
import importlib
import itertools
import os
import re
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras

import keras_mma
from benchmarks import records
from keras_mma import backend, layers, plans
from keras_mma.layers import pairing
from keras_mma.saliency import detectors

PLATFORMS = ("tpu", "cuda")
POLICIES = ("float32", "mixed_bfloat16")
#: A batch of 26 samples: no other axis of the small networks has this length.
BATCH, SIZE, CLASSES = 26, 32, 10
#: Communication between devices, and custom calls, of which Python callbacks are one kind.
COMMUNICATION = re.compile(r"stablehlo\.(all_gather|all_to_all|all_reduce|collective_\w+|reduce_scatter|send|recv)")
CUSTOM_CALL = re.compile(r"stablehlo\.custom_call @(\w+)")
GATHER = re.compile(r'"stablehlo\.gather".*?start_index_map = \[0\].*?: \(tensor<(\d+)x')


def small(mixer, adapter=None, with_input=False):
    """A network with a convolution, and a layer at the feature site 1 if there is one."""
    inputs = keras.Input((SIZE, SIZE, 3), name="images")
    x, plan = mixer(inputs)
    further = keras.Input((6,), name="further") if with_input else None
    mixed = layers.FollowPlan()(further, plan) if with_input else None
    x = keras.layers.Conv2D(8, 3, padding="same")(x)
    x = keras.layers.ReLU(name="site")(keras.layers.BatchNormalization()(x))
    if adapter is not None:
        x, plan = adapter(x, plan)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Concatenate()([x, mixed]) if with_input else x
    outputs = keras.layers.Dense(CLASSES, dtype="float32")(x)
    return keras_mma.MixModel([inputs, further] if with_input else inputs, (outputs, plan))


def resnet50():
    network = keras.applications.ResNet50(weights=None, classes=CLASSES, input_shape=(64, 64, 3))
    logits = keras.Model(network.input, network.layers[-1].input)
    outputs = keras.layers.Dense(CLASSES, dtype="float32")(logits.output)
    return keras_mma.mixify(keras.Model(logits.input, outputs), layers.SaliencyMix(seed=1))


def vit():
    """A ViT of three blocks."""
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Reshape((64, 24))(keras.layers.Conv2D(24, 4, strides=4)(inputs))
    for index in range(3):
        y = keras.layers.LayerNormalization()(x)
        x = keras.layers.Add(name=f"attended{index}")([x, keras.layers.MultiHeadAttention(3, 8)(y, y)])
        y = keras.layers.Dense(48, activation="gelu")(keras.layers.LayerNormalization()(x))
        x = keras.layers.Add(name=f"block{index}")([x, keras.layers.Dense(24)(y)])
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.LayerNormalization()(x))
    network = keras.Model(inputs, keras.layers.Dense(CLASSES, dtype="float32")(x))
    return keras_mma.mixify(network, layers.SaliencyMix(seed=1), at=["block0", "block1"])


def cells():
    """Dict from names to functions that make a model: every mixer, every layer at a feature site, and two networks."""

    def mixer(cls, **settings):
        sites = (0,) if cls(**settings).is_input_only else (0, 1)
        return lambda: small(cls(sites=sites, seed=1, **settings), layers.FeatureMixAdapt(1) if 1 in sites else None)

    def adapter(cls, **settings):
        return lambda: small(layers.CutMix(sites=(1,), seed=1), cls(1, **settings))

    def attribution(name):
        network = keras.Sequential(
            [
                keras.Input((SIZE, SIZE, 3)),
                keras.layers.Conv2D(8, 3, name="features"),
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dense(CLASSES, dtype="float32"),
            ]
        )
        return keras_mma.mixify(network, layers.SaliencyGrafting(detector=name, seed=1), at=["features"])

    return {
        **{cls.__name__: mixer(cls) for cls in layers.MIXERS.values()},
        "RandomChoice, per sample": mixer(layers.RandomChoice, per="sample"),
        "SaliencyMix, moving box": mixer(layers.SaliencyMix, scheme="nonsalient_to_salient"),
        "SaliencyMix, spectral_residual": mixer(layers.SaliencyMix, detector="spectral_residual"),
        "SaliencyMix, frequency_tuned, distance": mixer(
            layers.SaliencyMix, detector="frequency_tuned", partner="distance"
        ),
        "PuzzleMix, transport": mixer(layers.PuzzleMix, transport=True),
        "CutMix, derangement": mixer(layers.CutMix, partner="derangement"),
        "CutMix, probability 0.5": mixer(layers.CutMix, probability=0.5),
        "CutMix, sumix": mixer(layers.CutMix, label="sumix"),
        "SaliencyGrafting, gradient": lambda: attribution("gradient"),
        "SaliencyGrafting, activation": lambda: attribution("activation"),
        "FeatureMixAdapt, cbam, preserve_ratio": adapter(
            layers.FeatureMixAdapt, attention="cbam", preserve_ratio=True, edge_blur=1.0
        ),
        "FeatureMixAdapt, naive": adapter(layers.FeatureMixAdapt, attention=None, smooth=False, resize="nearest"),
        "CatchUpMix": adapter(layers.CatchUpMix),
        "FollowPlan": lambda: small(layers.MixUp(seed=1), with_input=True),
        "ResNet-50, SaliencyMix, MMA": resnet50,
        "ViT, SaliencyMix, MMA": vit,
    }


def make(name, policy):
    """A model of `cells`, compiled by Keras and with the variables of its optimizer."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = cells()[name]()
    finally:
        keras.config.set_dtype_policy(before)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
    model.optimizer.build(model.trainable_variables)
    return model


def shapes(model):
    """Shapes of the inputs and of the labels of a batch."""
    inputs = keras.tree.map_structure(lambda x: (BATCH, *x.shape[1:]), model.input)
    return inputs, (BATCH,)


@contextlib.contextmanager
def as_for_accelerators(devices=1):
    """A context in which the layers are traced as on a machine with accelerators.

    Detectors take no chunks there, and samples are paired within each device.
    """
    answers = {"is_compiled_for_cpu": lambda: False, "device_groups": lambda batch_size: devices}
    places = [(module, name) for module in (backend, detectors, pairing, plans) for name in answers]
    before = [(*place, getattr(*place)) for place in places if hasattr(*place)]
    for module, name, _ in before:
        setattr(module, name, answers[name])
    try:
        yield
    finally:
        for place in before:
            setattr(*place)


def lowered(model, devices=1):
    """The training step of a model as text: StableHLO of JAX for the accelerators, HLO of TensorFlow.

    Args:
        model: What `make` returned.
        devices: Number of devices that share the batch, on JAX.
    """
    with as_for_accelerators(devices):
        return {"jax": _by_jax, "tensorflow": _by_tensorflow}[keras.backend.backend()](model)


def _by_jax(model):
    import jax
    from jax import export

    def spec(shape, dtype):
        return jax.ShapeDtypeStruct(shape, dtype)

    variables = (model.trainable_variables, model.non_trainable_variables)
    variables += (model.optimizer.variables, model.metrics_variables)
    state = tuple([spec(variable.shape, variable.dtype) for variable in part] for part in variables)
    inputs, labels = shapes(model)
    is_shape = {"is_leaf": lambda value: isinstance(value, tuple)}
    images = jax.tree_util.tree_map(lambda shape: spec(shape, "float32"), inputs, **is_shape)
    step = jax.jit(lambda state, data: model.train_step(state, data))
    return export.export(step, platforms=PLATFORMS)(state, (images, spec(labels, "int32"))).mlir_module()


def _by_tensorflow(model):
    import tensorflow as tf

    inputs, labels = shapes(model)
    shape_of = inputs if isinstance(inputs, list) else [inputs]
    images = [tf.zeros(shape) for shape in shape_of]
    step = tf.function(
        lambda *data: model.train_step((list(data[:-1]) if len(data) > 2 else data[0], data[-1])), jit_compile=True
    )
    return step.experimental_get_compiler_ir(*images, tf.zeros(labels, "int32"))(stage="hlo")


def faults(text):
    """What an accelerator could not run, or would run slowly, in a program of JAX: a list of strings."""
    return [
        *(f"communication: {name}" for name in sorted(set(COMMUNICATION.findall(text)))),
        *(f"custom call: {name}" for name in sorted(set(CUSTOM_CALL.findall(text)) - {"Sharding"})),
        *(["a shape that is not static"] if re.search(r"tensor<(\d+x)*\?", text) else []),
    ]


def gathers_of_the_batch(text):
    """Number of gathers that take rows of the whole batch, which its samples must be together for."""
    return sum(int(first) == BATCH for first in GATHER.findall(text))


def measure():
    """A row for each cell, precision and, on JAX, number of devices."""
    numbers = (1, 2) if keras.backend.backend() == "jax" else (1,)
    for name, policy, devices in itertools.product(cells(), POLICIES, numbers):
        keras.utils.clear_session()
        row = {"cell": name, "policy": policy, "devices": devices}
        try:
            text = lowered(make(name, policy), devices)
            row["faults"] = faults(text)
            if keras.backend.backend() == "jax":
                row["gathers"] = gathers_of_the_batch(text)
        except Exception as error:
            row["faults"] = [f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"]
        print(f"{name:40} {policy:15} {devices} {'; '.join(row['faults']) or 'nothing found'}", flush=True)
        yield row


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    name = keras.backend.backend()
    command = f"KERAS_BACKEND={name} {records.recorded_command('lowering', arguments)}"
    record = {"command": command, **records.stamp(), "batch": BATCH}
    record |= {"platforms": list(PLATFORMS) if name == "jax" else ["xla"], "keras": keras.__version__}
    record |= {name: importlib.import_module(name).__version__, "rows": list(measure())}
    if options.output:
        records.write_json(options.output, record)


if __name__ == "__main__":
    main()
