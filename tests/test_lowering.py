"""The training step, lowered for accelerators that are not here: what they could not run is not in it."""

import json
from pathlib import Path

import keras
import pytest
from keras import ops

from benchmarks import lowering
from keras_mma import layers

ROOT = Path(__file__).parents[1]
BACKEND = keras.backend.backend()
if BACKEND == "torch":
    pytest.skip("PyTorch lowers nothing here", allow_module_level=True)

on_jax = pytest.mark.skipif(BACKEND != "jax", reason="reads the programs of JAX")


def check(name, policy):
    """On JAX also as on two devices: with pairs within each, no sample of the whole batch is looked up."""
    text = lowering.lowered(lowering.make(name, policy))
    if BACKEND == "tensorflow":
        assert "ENTRY" in text
        return
    assert lowering.faults(text) == [] and lowering.gathers_of_the_batch(text) > 0
    on_two_devices = lowering.lowered(lowering.make(name, policy), devices=2)
    assert lowering.faults(on_two_devices) == [] and lowering.gathers_of_the_batch(on_two_devices) == 0


@pytest.mark.parametrize(("name", "policy"), [("CutMix", "float32"), ("CatchUpMix", "mixed_bfloat16")])
def test_a_sample_of_the_steps_is_lowered(name, policy):
    check(name, policy)


@pytest.mark.slow
@on_jax
@pytest.mark.parametrize("policy", lowering.POLICIES)
@pytest.mark.parametrize("name", lowering.cells())
def test_every_step_is_lowered(name, policy):
    check(name, policy)


def test_the_cells_have_every_mixer_and_every_layer_at_a_feature_site():
    names = {name.partition(",")[0] for name in lowering.cells()}
    assert names >= {cls.__name__ for cls in layers.MIXERS.values()}
    assert names >= {"FeatureMixAdapt", "CatchUpMix", "FollowPlan", "ResNet-50", "ViT"}


@on_jax
def test_a_call_of_the_host_is_found():
    import jax
    import numpy as np

    def step(x):
        return jax.pure_callback(lambda y: np.asarray(y), jax.ShapeDtypeStruct((3,), "float32"), x)

    assert any("callback" in fault for fault in lowering.faults(jax.jit(step).lower(np.zeros(3, "float32")).as_text()))
    with pytest.raises(Exception, match="callback"):
        from jax import export

        export.export(jax.jit(step), platforms=lowering.PLATFORMS)(jax.ShapeDtypeStruct((3,), "float32"))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('%1 = "stablehlo.all_gather"(%0) : (tensor<2x3xf32>) -> tensor<4x3xf32>', "communication: all_gather"),
        ("%1 = stablehlo.collective_permute %0", "communication: collective_permute"),
        ("%1 = stablehlo.custom_call @xla_python_cpu_callback(%0)", "custom call: xla_python_cpu_callback"),
        ("%0 : tensor<?x32x32x3xf32>", "a shape that is not static"),
        ("%0 : tensor<8x?xf32>", "a shape that is not static"),
    ],
)
def test_faults_are_found(text, fault):
    assert lowering.faults(text) == [fault]


@pytest.mark.skipif(BACKEND != "tensorflow", reason="an operation of TensorFlow")
def test_an_operation_without_xla_kernel_is_found(monkeypatch):
    """`keras.random.beta`, which the package does not use."""

    class KerasBeta(layers.MixUp):
        def sample_mask(self, images, partner, maps):
            share = keras.random.beta((lowering.BATCH,), 1.0, 1.0, seed=self.seed_generator)
            return super().sample_mask(images, partner, maps)._replace(lam=ops.cast(share, "float32"))

    monkeypatch.setattr(lowering, "cells", lambda: {"beta": lambda: lowering.small(KerasBeta(seed=1))})
    with pytest.raises(Exception, match="StatelessRandomGamma"):
        lowering.lowered(lowering.make("beta", "float32"))


@pytest.mark.parametrize("name", ["lowering.json", "lowering-tensorflow.json"])
def test_the_record_is_of_all_cells_and_without_faults(name):
    record = json.loads((ROOT / "docs" / "results" / name).read_text())
    numbers = (1, 2) if name == "lowering.json" else (1,)
    expected = {(cell, policy, count) for cell in lowering.cells() for policy in lowering.POLICIES for count in numbers}
    assert {(row["cell"], row["policy"], row["devices"]) for row in record["rows"]} == expected
    assert all(row["faults"] == [] for row in record["rows"])
    assert all(row["gathers"] == 0 for row in record["rows"] if row["devices"] == 2)
