"""Peak memory of a training step of ResNet-50 at 224 pixels, as a ratio to the plain step, on the CPU.

    python -m benchmarks.memory --output docs/results/memory.json

Each method runs in a process of its own, which compiles, meets every site, and then lets the kernel forget its peak:
the figure is the largest resident size (`VmHWM`) of the steps that follow, weights, optimizer and framework included.
Linux only.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from keras_mma import layers, mixify

METHODS = {
    "plain": None,
    "SaliencyMix": (0,),
    "SaliencyMix + MMA at two sites": (0, 1, 2),
    "MMA at two sites only": (1, 2),
}
POINTS = ["conv2_block3_out", "conv3_block4_out"]


def peak_of_steps(method, batch_size, steps):
    """Bytes."""
    network = keras.applications.ResNet50(weights=None, classes=10, classifier_activation=None)
    sites = METHODS[method]
    if sites is not None:
        host = layers.SaliencyMix(sites=sites, seed=0)
        network = mixify(network, host, at=POINTS if len(sites) > 1 else [])
    network.compile(keras.optimizers.SGD(1e-4), keras.losses.CategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size, 224, 224, 3)).astype("float32")
    labels = np.eye(10, dtype="float32")[rng.integers(0, 10, batch_size)]
    network.train_on_batch(images, labels)
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(steps):
        network.train_on_batch(images, labels)
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8, help="enough to meet every site")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.method:
        print(peak_of_steps(options.method, options.batch_size, options.steps))
        return
    command = [sys.executable, "-m", "benchmarks.memory", "--batch-size", str(options.batch_size)]
    command += ["--steps", str(options.steps)]
    peaks = {method: [] for method in METHODS}
    for _ in range(options.repetitions):
        for method, found in peaks.items():
            done = subprocess.run([*command, "--method", method], capture_output=True, text=True, check=True)
            found.append(int(done.stdout.split()[-1]))
    rows = []
    for method, found in peaks.items():
        ratios = sorted(np.divide(found, peaks["plain"]).tolist())
        row = {"method": method, "ratio": float(np.median(ratios)), "min": ratios[0], "max": ratios[-1]}
        rows.append(row | {"gibibytes": float(np.median(found)) / 2**30})
        print("{method:32} {ratio:.3f} ({min:.3f} to {max:.3f}), {gibibytes:.2f} GiB".format(**rows[-1]))
    if options.output:
        record = {
            "command": f"python -m benchmarks.memory --batch-size {options.batch_size} --steps {options.steps} "
            f"--repetitions {options.repetitions}",
            "keras": keras.__version__,
            "backend": f"{keras.backend.backend()} {__import__(keras.backend.backend()).__version__}",
            "machine": f"{os.cpu_count()} cores, {platform.machine()}",
            "rows": rows,
        }
        options.output.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
