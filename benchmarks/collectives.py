"""What each way of pairing moves between devices, read from the program that JAX's compiler makes of it.

    python -m benchmarks.collectives --output docs/results/collectives.json

A batch of 128 images of 32 x 32 is spread over two devices. "Whole batch" pairs any row with any other; "each device",
which is what the layers do under `keras.distribution`, pairs rows that are on the same device. Counted are the
operations that communicate, and the bytes of their results on each device. Nothing is timed.
"""

import argparse
import json
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

from keras_mma import layers

BATCH, SIZE, CLASSES, CHANNELS = 128, 32, 10, 64
COLLECTIVE = re.compile(
    r"= (?P<result>.*?) (?P<name>all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
)
ARRAY = re.compile(r"\b(pred|[a-z]+(\d+))\[([\d,]*)\]")


def hosts():
    return {
        "CutMix, shuffle": layers.CutMix(seed=1),
        "CutMix, roll": layers.CutMix(partner="roll", seed=1),
        "SaliencyMix, shuffle": layers.SaliencyMix(seed=1),
        "SaliencyMix, distance": layers.SaliencyMix(partner="distance", seed=1),
        "SaliencyGrafting, shuffle": layers.SaliencyGrafting(seed=1),
        "GuidedMixup (spectral_residual), distance": layers.GuidedMixup(seed=1),
    }


def collectives(text):
    """Names and bytes of the communicating operations in a compiled program."""
    found = []
    for match in COLLECTIVE.finditer(text):
        size = 0
        for kind, bits, shape in ARRAY.findall(match["result"]):
            size += (1 if kind == "pred" else int(bits) // 8) * math.prod(map(int, filter(None, shape.split(","))))
        found.append((match["name"], size))
    return found


def compiled(function, *arguments, state):
    """The program of a function of batches that are spread over the devices, and of a seed's state that is not."""
    split = NamedSharding(Mesh(np.array(jax.devices()), ("batch",)), PartitionSpec("batch"))
    program = jax.jit(function, in_shardings=(*[split] * len(arguments), None), out_shardings=split)
    return program.lower(*arguments, state).compile().as_text()


def host_program(host):
    images, labels = np.zeros((BATCH, SIZE, SIZE, 3), "float32"), np.zeros((BATCH, CLASSES), "float32")

    def mix(images, labels, state):
        with keras.StatelessScope([(host.seed_generator.state, state)]):
            return host(images, labels, training=True)

    return compiled(mix, images, labels, state=host.seed_generator.state.value)


def adapter_program():
    """`FeatureMixAdapt` and the labels that follow it, with the plan of a host before it."""
    from keras_mma import plan as plans

    host, adapter = layers.CutMix(sites=(1,), seed=1), layers.FeatureMixAdapt(1)

    def mix(images, features, labels, state):
        with keras.StatelessScope([(host.seed_generator.state, state)]):
            plan = host(images, training=True)[1]
            features, plan = adapter(features, plan, training=True)
            return features, plans.mix_labels(labels, plan)

    arrays = [np.zeros((BATCH, SIZE, SIZE, channels), "float32") for channels in (3, CHANNELS)]
    state = host.seed_generator.state.value
    return compiled(mix, *arrays, np.zeros((BATCH, CLASSES), "float32"), state=state)


def measure():
    rows = []
    for name in [*hosts(), f"FeatureMixAdapt, {CHANNELS} channels, shuffle"]:
        row = {"method": name}
        for policy, distribution in (("whole_batch", None), ("each_device", keras.distribution.DataParallel())):
            keras.distribution.set_distribution(distribution)
            found = collectives(host_program(hosts()[name]) if name in hosts() else adapter_program())
            row[policy] = {"operations": len(found), "bytes": sum(size for _, size in found)}
        keras.distribution.set_distribution(None)
        rows.append(row)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rows = measure()
    for row in rows:
        parts = (f"{row[key]['operations']} ({row[key]['bytes']:,} bytes)" for key in ("whole_batch", "each_device"))
        print(f"{row['method']:45} whole batch {{}}, each device {{}}".format(*parts))
    if options.output:
        record = {"command": "python -m benchmarks.collectives", "devices": 2, "batch": BATCH, "size": SIZE}
        record |= {"jax": jax.__version__, "keras": keras.__version__, "rows": rows}
        options.output.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
