"""A training step with each method, its time and its peak memory, each set of them in a process of its own.

    python -m benchmarks.training_step '{"network": "preactresnet18", "batch": 32, ...}'

prints one line of JSON; `benchmarks.throughput` starts it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.timing import interleave, ratio, versions

ROOT = Path(__file__).parents[1]
MMA = "SaliencyMix + MMA"
POINTS = {"preactresnet18": ("stage1", "stage2"), "resnet50": ("conv2_block3_out", "conv3_block4_out")}
#: A step of a host with several sites is the mean over them: they are drawn alike.
SITES = {MMA: ("SaliencyMix", "SaliencyMix, site 1", "SaliencyMix, site 2")}
ATTRIBUTIONS = ("SaliencyGrafting, activation", "SaliencyGrafting, gradient")
FEW = ("plain", "SaliencyMix", "SaliencyMix, site 1", "SaliencyMix, site 2", *ATTRIBUTIONS)
HOSTS = (*FEW, "MixUp", "CutMix", "SaliencyGrafting, fine_grained", "GuidedMixup, spectral_residual")
ALL = (
    *HOSTS,
    "SaliencyGrafting, activation at stage2",
    "SaliencyMix, spectral_residual",
    "SaliencyMix, frequency_tuned",
)
MEMORY = ("plain", "SaliencyMix", MMA)


def settings(quick=False):
    """The runs: which network on what, with which methods; those of time, and those of memory."""
    if quick:
        small = {"network": "wideresnet10", "batch": 8, "side": 16, "xla": False, "methods": ["plain", "SaliencyMix"]}
        return [{**small, "backend": "tensorflow"}], [{**small, "backend": "tensorflow", "methods": ["plain", MMA]}]
    base = {"network": "preactresnet18", "batch": 128, "side": 32, "xla": False, "backend": "tensorflow"}
    times = [
        {**base, "methods": ALL},
        {**base, "xla": True, "methods": HOSTS},
        {**base, "xla": True, "backend": "jax", "methods": HOSTS},
    ]
    for xla, backend, batch in ((False, "tensorflow", 32), (True, "tensorflow", 16), (True, "jax", 16)):
        large = {"network": "resnet50", "batch": batch, "side": 224, "xla": xla, "backend": backend}
        times.append({**large, "methods": FEW})
    return times, [{**base, "methods": MEMORY}]


def measure(rounds, quick=False):
    """Part B, the time.

    Yields:
        After each run a dict with `runs`: the runs so far, each with its setting and its rows.
    """
    found = {"runs": [], "rounds": rounds}
    for setting in settings(quick)[0]:
        found["runs"].append({**setting, **_in_process({**setting, "rounds": rounds})})
        yield found


def measure_memory(rounds, quick=False):
    """Part B, the memory.

    Yields:
        After each run a dict with `runs`, as of the time.
    """
    found = {"runs": [], "rounds": rounds}
    for setting in settings(quick)[1]:
        taken = {name: [] for name in setting["methods"]}
        for _ in range(rounds):
            for name in taken:
                taken[name].append(_in_process({**setting, "methods": [name], "rounds": 0})["memory"])
                print(f"memory {name:36} {taken[name][-1]}", flush=True)
        rows = []
        for name, each in taken.items():
            row = {"method": name}
            for kind in ("peak", "growth"):
                row[kind] = ratio([one[kind] for one in each], [one[kind] for one in taken["plain"]])
            rows.append(row)
        found["runs"].append({**setting, "rows": rows})
        yield found


def _in_process(setting):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.training_step", json.dumps(setting)],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": setting["backend"], "TF_CPP_MIN_LOG_LEVEL": "2"},
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise RuntimeError(f"The run of {setting} must end well. Received: exit status {done.returncode}")
    print("\n".join(lines[:-1]), flush=True)
    return json.loads(lines[-1])


def _build(network, side):
    import keras

    from keras_mma import models

    if network == "preactresnet18":
        return models.PreActResNet18((side, side, 3))
    if network == "resnet50":
        return keras.applications.ResNet50(
            weights=None, input_shape=(side, side, 3), classes=10, classifier_activation=None
        )
    return models.WideResNet(10, 1, (side, side, 3))


def _step(name, setting, images, labels):
    """A function that makes one training step with a method."""
    import keras

    from keras_mma import layers, mixify

    points = POINTS.get(setting["network"], ("stage1", "stage2"))
    hosts = {
        "plain": (None, ()),
        "MixUp": (layers.MixUp, ()),
        "CutMix": (layers.CutMix, ()),
        "SaliencyMix": (layers.SaliencyMix, ()),
        "SaliencyMix, site 1": (lambda: layers.SaliencyMix(sites=(1,)), points[:1]),
        "SaliencyMix, site 2": (lambda: layers.SaliencyMix(sites=(1,)), points[1:]),
        MMA: (layers.SaliencyMix, points),
        "SaliencyMix, spectral_residual": (lambda: layers.SaliencyMix(detector="spectral_residual"), ()),
        "GuidedMixup, spectral_residual": (layers.GuidedMixup, ()),
        "SaliencyGrafting, fine_grained": (layers.SaliencyGrafting, ()),
        "SaliencyGrafting, activation": (lambda: layers.SaliencyGrafting(detector="activation"), ()),
        "SaliencyGrafting, activation at stage2": (
            lambda: layers.SaliencyGrafting(detector="activation", attribution_layer="stage2"),
            (),
        ),
        "SaliencyMix, frequency_tuned": (lambda: layers.SaliencyMix(detector="frequency_tuned"), ()),
        "SaliencyGrafting, gradient": (lambda: layers.SaliencyGrafting(detector="gradient"), ()),
    }
    host, at = hosts[name]
    model = _build(setting["network"], setting["side"])
    if host is not None:
        model = mixify(model, host(), at=list(at))
    model.compile(
        keras.optimizers.SGD(1e-4),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        jit_compile=setting["xla"],
    )
    return lambda: model.train_on_batch(images, labels)


def _resident(key):
    """`VmHWM` (the peak) or `VmRSS` of this process in MiB, as the kernel counts it."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def run(setting):
    """Time the steps of all methods in turns, or, with no rounds, make some of one and look at the memory."""
    import keras
    import numpy as np

    from benchmarks.augmentation import natural_crops

    images = natural_crops(setting["batch"], setting["side"]).astype("float32")
    labels = np.eye(10, dtype="float32")[np.arange(setting["batch"]) % 10]
    steps = {name: _step(name, setting, images, labels) for name in setting["methods"]}
    if not setting["rounds"]:
        (step,) = steps.values()
        before = _resident("VmRSS")
        # Sites are drawn: ten steps miss one of three in 5 of 100 cases, and that three times over almost never.
        for _ in range(10 if MMA in steps else 3):
            step()
        peak = _resident("VmHWM")
        return {"memory": {"peak": peak, "growth": peak - before}}
    seconds = interleave(steps, setting["rounds"])
    for name, parts in SITES.items():
        if all(part in seconds for part in parts):
            seconds[name] = list(np.mean([seconds[part] for part in parts], axis=0))
    rows = []
    for name, taken in seconds.items():
        rows.append({"method": name, **ratio(taken, seconds["plain"])})
        print(f"{setting['network']} {setting['backend']} {name:36} {rows[-1]['median']:.3f}", flush=True)
    backend = keras.backend.backend()
    return {"rows": rows, "plain_seconds": float(np.median(seconds["plain"])), "versions": versions("keras", backend)}


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
