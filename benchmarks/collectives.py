"""Count the communication between devices that mixing a batch needs, in the program that JAX compiles.

    python -m benchmarks.collectives --output docs/results/collectives.json

A batch of 128 images of 32 x 32 pixels is sharded over two devices. "Whole batch" pairs any sample with any other;
"each device", which is what the layers do under `keras.distribution`, pairs samples of the same device. The script
counts the communicating operations and the bytes of their results on each device. Nothing is timed.
"""

import argparse
import math
import os
import re
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"

import jax
import keras
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks import records
from benchmarks.timing import QUICK
from keras_mma import layers, plans

BATCH, SIZE, CLASSES, CHANNELS = 128, 32, 10, 64
COLLECTIVE = re.compile(
    r"= (?P<result>.*?) (?P<name>all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
)
ARRAY = re.compile(r"\b(pred|[a-z]+(\d+))\[([\d,]*)\]")


def mixers(quick=False):
    """Dict from names to mixers: all of `layers.MIXERS` with their default arguments, and other ways of pairing."""
    changed = QUICK if quick else {}
    defaults = [mixer(seed=1, **changed.get(mixer.__name__, {})) for mixer in layers.MIXERS.values()]
    return {
        **{f"{type(mixer).__name__}, {mixer.partner}": mixer for mixer in defaults},
        "CutMix, roll": layers.CutMix(partner="roll", seed=1),
        "CutMix, derangement": layers.CutMix(partner="derangement", seed=1),
        "SaliencyMix, distance": layers.SaliencyMix(partner="distance", seed=1),
    }


def collectives(text):
    """Names and bytes of the communicating operations in a compiled program."""
    operations = []
    for match in COLLECTIVE.finditer(text):
        size = 0
        for kind, bits, shape in ARRAY.findall(match["result"]):
            size += (1 if kind == "pred" else int(bits) // 8) * math.prod(map(int, filter(None, shape.split(","))))
        operations.append((match["name"], size))
    return operations


def compiled(function, *arguments, state):
    """The compiled program of a function of sharded batches and a replicated seed state."""
    split = NamedSharding(Mesh(np.array(jax.devices()), ("batch",)), PartitionSpec("batch"))
    program = jax.jit(function, in_shardings=(*[split] * len(arguments), None), out_shardings=split)
    return program.lower(*arguments, state).compile().as_text()


def mixer_program(mixer):
    """The program of a mixer on a labeled batch."""
    images, labels = np.zeros((BATCH, SIZE, SIZE, 3), "float32"), np.zeros((BATCH, CLASSES), "float32")

    def mix(images, labels, state):
        with keras.StatelessScope([(mixer.seed_generator.state, state)]):
            return mixer(images, labels, training=True)

    return compiled(mix, images, labels, state=mixer.seed_generator.state.value)


def feature_program():
    """The program of `FeatureMixAdapt` and the labels that follow it, with the plan of CutMix."""
    mixer, feature_mixer = layers.CutMix(sites=(1,), seed=1), layers.FeatureMixAdapt(1)

    def mix(images, features, labels, state):
        with keras.StatelessScope([(mixer.seed_generator.state, state)]):
            plan = mixer(images, training=True)[1]
            features, plan = feature_mixer(features, plan, training=True)
            return features, plans.mix_labels(labels, plan)

    arrays = [np.zeros((BATCH, SIZE, SIZE, channels), "float32") for channels in (3, CHANNELS)]
    state = mixer.seed_generator.state.value
    return compiled(mix, *arrays, np.zeros((BATCH, CLASSES), "float32"), state=state)


def measure(quick=False):
    """The rows of the record: operations and bytes of each method, for both ways of pairing."""
    rows = []
    for name in [*mixers(), f"FeatureMixAdapt, {CHANNELS} channels, shuffle"]:
        row = {"method": name}
        for policy, distribution in (("whole_batch", None), ("each_device", keras.distribution.DataParallel())):
            keras.distribution.set_distribution(distribution)
            operations = collectives(mixer_program(mixers(quick)[name]) if name in mixers() else feature_program())
            row[policy] = {"operations": len(operations), "bytes": sum(size for _, size in operations)}
        keras.distribution.set_distribution(None)
        rows.append(row)
    return rows


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--quick", action="store_true", help="PuzzleMix with one grid instead of four")
    options = parser.parse_args(arguments)
    record = {"command": records.recorded_command("collectives", arguments), **records.stamp()}
    rows = measure(options.quick)
    for row in rows:
        parts = (f"{row[key]['operations']} ({row[key]['bytes']:,} bytes)" for key in ("whole_batch", "each_device"))
        print(f"{row['method']:45} whole batch {{}}, each device {{}}".format(*parts))
    if options.output:
        record |= {"devices": 2, "batch": BATCH, "size": SIZE, "jax": jax.__version__, "keras": keras.__version__}
        records.write_json(options.output, {**record, "rows": rows})


if __name__ == "__main__":
    main()
