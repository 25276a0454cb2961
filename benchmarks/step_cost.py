"""What one training step costs with each method, as a ratio to the plain step, in one run.

    python -m benchmarks.step_cost --output docs/results/step-cost.json

Repetitions are interleaved over the methods, so that a busy moment of the machine meets all alike. The table has the
median of the ratios of each round, and the smallest and largest.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from keras_mma import layers, mixify, models

POINTS = ["stage1", "stage2"]


def methods():
    """Name to host and whether it mixes features too; the host's probability is 1, the dearest."""
    grafting, saliency_mix = layers.SaliencyGrafting, layers.SaliencyMix
    return {
        "plain": (None, False),
        "MixUp": (layers.MixUp(), False),
        "CutMix": (layers.CutMix(), False),
        "CutMix + MMA": (layers.CutMix(), True),
        "SaliencyMix, fine_grained": (saliency_mix(), False),
        "SaliencyMix, fine_grained + MMA": (saliency_mix(), True),
        "SaliencyMix, spectral_residual": (saliency_mix(detector="spectral_residual"), False),
        "SaliencyMix, frequency_tuned": (saliency_mix(detector="frequency_tuned"), False),
        "SaliencyGrafting, fine_grained": (grafting(), False),
        "SaliencyGrafting, activation": (grafting(detector="activation"), False),
        "SaliencyGrafting, activation at stage2": (grafting(detector="activation", attribution_layer="stage2"), False),
        "SaliencyGrafting, gradient": (grafting(detector="gradient"), False),
        "GuidedMixup, spectral_residual": (layers.GuidedMixup(), False),
    }


def make_network(name):
    if name == "preactresnet18":
        return models.PreActResNet18()
    depth, width = name.removeprefix("wideresnet-").split("-")
    return models.WideResNet(int(depth), int(width))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", default="wideresnet-16-2")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (options.batch_size, 32, 32, 3)).astype("float32")
    labels = np.eye(10, dtype="float32")[rng.integers(0, 10, options.batch_size)]
    steps = {}
    for name, (host, mixes_features) in methods().items():
        model = make_network(options.network)
        if host is not None:
            model = mixify(model, host, at=POINTS if mixes_features else [])
        model.compile(keras.optimizers.SGD(1e-4), keras.losses.CategoricalCrossentropy(from_logits=True))
        steps[name] = lambda model=model: model.train_on_batch(images, labels)
        for _ in range(2 if not mixes_features else 6):  # compile, and meet every site
            steps[name]()
    seconds = {name: [] for name in steps}
    for _ in range(options.repetitions):
        for name, step in steps.items():
            # Sites are drawn: a mixing model's step is the mean of six.
            count = 6 if "MMA" in name else 2
            start = time.perf_counter()
            for _ in range(count):
                step()
            seconds[name].append((time.perf_counter() - start) / count)
    plain = np.array(seconds["plain"])
    rows = []
    for name, taken in seconds.items():
        ratios = np.array(taken) / plain
        rows.append(
            {"method": name, "ratio": float(np.median(ratios)), "min": float(ratios.min()), "max": float(ratios.max())}
        )
        print(f"{name:42} {np.median(ratios):5.2f}  ({ratios.min():.2f} to {ratios.max():.2f})", flush=True)
    if options.output:
        record = {
            "command": f"python -m benchmarks.step_cost --network {options.network} --batch-size {options.batch_size}"
            f" --repetitions {options.repetitions}",
            "keras": keras.__version__,
            "backend": f"{keras.backend.backend()} {__import__(keras.backend.backend()).__version__}",
            "machine": f"{os.cpu_count()} cores, {platform.machine()}",
            "rows": rows,
        }
        options.output.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
