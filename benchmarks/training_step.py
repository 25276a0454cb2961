"""A training step with each method, its time and its peak memory, each set of them in a process of its own.

    python -m benchmarks.training_step '{"network": "preactresnet18", "batch": 32, ...}'

prints one line of JSON; `benchmarks.throughput` starts it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.timing import interleave, ratio, stamp, versions

ROOT = Path(__file__).parents[1]
MMA = "SaliencyMix + MMA"
MEAN = "SaliencyMix + MMA, mean over sites"
POINTS = {"preactresnet18": ("stage1", "stage2"), "resnet50": ("conv2_block3_out", "conv3_block4_out")}
#: Sites are drawn alike, so that the mean over them is a step of a model with all of them.
SITES = ("SaliencyMix", "SaliencyMix, site 1", "SaliencyMix, site 2")
ATTRIBUTIONS = ("SaliencyGrafting, activation", "SaliencyGrafting, gradient")
INPUTS = ("MixUp", "CutMix", "SaliencyGrafting, fine_grained", "GuidedMixup, spectral_residual")
HOSTS = ("plain", *SITES, *ATTRIBUTIONS, *INPUTS)
ALL = (
    *HOSTS,
    MMA,
    "SaliencyGrafting, activation at stage2",
    "SaliencyMix, spectral_residual",
    "SaliencyMix, frequency_tuned",
)
MEMORY = ("plain", "SaliencyMix", MMA)
SETTING = ("network", "batch", "side", "backend", "xla")


def settings(quick=False):
    """The runs: which network on what, with which methods; those of time, and those of memory."""
    if quick:
        small = {"network": "wideresnet10", "batch": 8, "side": 16, "xla": False, "backend": "tensorflow"}
        return [{**small, "methods": ["plain", "SaliencyMix", MMA]}], [{**small, "methods": ["plain", MMA]}]
    small = {"network": "preactresnet18", "batch": 128, "side": 32}
    without, with_xla = {"xla": False, "backend": "tensorflow"}, {"xla": True, "backend": "tensorflow"}
    jax = {"xla": True, "backend": "jax"}
    large = [
        {"network": "resnet50", "batch": batch, "side": 224, **where}
        for batch, where in ((32, without), (16, with_xla), (16, jax))
    ]
    # In several processes, because each holds all of its networks at once.
    times = [
        {**small, **without, "methods": ALL},
        {**small, **with_xla, "methods": HOSTS},
        {**small, **jax, "methods": HOSTS},
        *({**network, "methods": ("plain", *SITES, *ATTRIBUTIONS)} for network in large),
        {**small, **with_xla, "methods": ("plain", MMA, "MixUp", "CutMix")},
        {**small, **jax, "methods": ("plain", MMA, "MixUp", "CutMix")},
        *({**network, "methods": ("plain", MMA, *INPUTS)} for network in large),
    ]
    memory = [
        {**small, **without, "methods": (*MEMORY, *ATTRIBUTIONS, *INPUTS)},
        {**small, **with_xla, "methods": MEMORY},
        {**small, **jax, "methods": MEMORY},
        *({**network, "batch": 16, "methods": MEMORY} for network in large),
    ]
    return times, memory


def measure(rounds, quick=False, only=None, kept=()):
    """Part B, the time.

    Args:
        rounds: How many times each step is timed.
        quick: Whether to take tiny sizes.
        only: Number of the one run to make, from 0; all of them by default.
        kept: The runs that were made before, among which the one is put.

    Yields:
        After each run a dict with `runs`: the runs so far, each with its setting, its `rounds` and its rows.
    """
    yield from _each(settings(quick)[0], _time, rounds, only, kept)


def measure_memory(rounds, quick=False, only=None, kept=()):
    """Part B, the memory: as `measure`, but that `rounds` are processes."""
    yield from _each(settings(quick)[1], _memory, rounds, only, kept)


def _each(runs, take, rounds, only, kept):
    found = {"runs": list(kept if only is not None else ())}
    for number, setting in enumerate(runs):
        if only in (None, number):
            run = {**setting, "rounds": rounds, "measured": stamp(), **take(setting, rounds)}
            found["runs"][number : number + 1] = [run]
            yield found


def check_run(runs, only, kept):
    """Raise a `ValueError` unless the run can be put among those that are kept, which must be of these settings."""
    if only not in range(min(len(runs), len(kept) + 1)):
        raise ValueError(f"--run must be below {len(runs)}, and at most the first that is missing. Received: {only}")
    for number, (setting, run) in enumerate(zip(runs, kept, strict=False)):
        if {name: setting[name] for name in SETTING} != {name: run[name] for name in SETTING}:
            raise ValueError(
                f"--run needs a record of the same settings. Received: one whose run {number} is of another"
            )


def _time(setting, rounds):
    return _in_process({**setting, "rounds": rounds})


def _memory(setting, rounds):
    taken = {name: [] for name in setting["methods"]}
    for _ in range(rounds):
        for name in taken:
            taken[name].append(_in_process({**setting, "methods": [name], "rounds": 0})["memory"])
            print(f"{setting['network']} {setting['backend']} memory {name:36} {taken[name][-1]}", flush=True)
    rows = []
    for name, each in taken.items():
        row = {"method": name}
        for kind in ("peak", "growth"):
            row[kind] = ratio([one[kind] for one in each], [one[kind] for one in taken["plain"]])
        rows.append(row)
    return {"rows": rows, "plain_mebibytes": float(np.median([one["peak"] for one in taken["plain"]]))}


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


def host_of(name, network):
    """What a method's name means: its host, or `None`, and the names of the layers after which features are mixed."""
    from keras_mma import layers

    points = POINTS.get(network, ("stage1", "stage2"))
    mix, graft = layers.SaliencyMix, layers.SaliencyGrafting
    return {
        "plain": lambda: (None, ()),
        "MixUp": lambda: (layers.MixUp(), ()),
        "CutMix": lambda: (layers.CutMix(), ()),
        "SaliencyMix": lambda: (mix(), ()),
        "SaliencyMix, site 1": lambda: (mix(sites=(1,)), points[:1]),
        "SaliencyMix, site 2": lambda: (mix(sites=(1,)), points[1:]),
        MMA: lambda: (in_turn(mix)(), points),
        "SaliencyMix, spectral_residual": lambda: (mix(detector="spectral_residual"), ()),
        "SaliencyMix, frequency_tuned": lambda: (mix(detector="frequency_tuned"), ()),
        "GuidedMixup, spectral_residual": lambda: (layers.GuidedMixup(), ()),
        "SaliencyGrafting, fine_grained": lambda: (graft(), ()),
        "SaliencyGrafting, activation": lambda: (graft(detector="activation"), ()),
        "SaliencyGrafting, activation at stage2": lambda: (
            graft(detector="activation", attribution_layer="stage2"),
            (),
        ),
        "SaliencyGrafting, gradient": lambda: (graft(detector="gradient"), ()),
    }[name]()


def _step(name, setting, images, labels):
    """A function that makes one training step with a method."""
    import keras

    from keras_mma import mixify

    host, at = host_of(name, setting["network"])
    model = _build(setting["network"], setting["side"])
    if host is not None:
        model = mixify(model, host, at=list(at))
    model.compile(
        keras.optimizers.SGD(1e-4),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        jit_compile=setting["xla"],
    )
    return lambda: model.train_on_batch(images, labels)


def in_turn(host):
    """A class like the host's that does not draw its sites: each step takes the next."""
    import keras
    from keras import ops

    class InTurn(host):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.turn = keras.Variable(0, trainable=False, dtype="int32", name="turn")

        def _draw_site(self):
            site = ops.take(ops.convert_to_tensor(self.sites, "int32"), self.turn % len(self.sites), axis=0)
            self.turn.assign(self.turn + 1)
            return site

    return InTurn


def _apart(steps):
    """The steps in the order of a round; that of several sites once for each.

    There are others between: a step is faster after one of the same network.
    """
    order = [(name, name) for name in steps if name != MMA]
    if MMA in steps:
        for site in reversed(range(len(SITES))):
            order.insert(1 + site * len(order) // len(SITES), (f"{MMA} {site}", MMA))
    return {part: steps[name] for part, name in order}


def _joined(seconds):
    """The seconds of a round's steps, those of all sites as one, and the mean over the models of one site each."""
    joined = {name: taken for name, taken in seconds.items() if not name.startswith(MMA)}
    parts = [taken for name, taken in seconds.items() if name.startswith(MMA)]
    if parts:
        joined[MMA] = np.mean(parts, axis=0)
    if all(site in joined for site in SITES):
        joined[MEAN] = np.mean([joined[site] for site in SITES], axis=0)
    return joined


def _resident(key):
    """`VmHWM` (the peak) or `VmRSS` of this process in MiB, as the kernel counts it."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def run(setting):
    """Time the steps of all methods in turns, or, with no rounds, make some of one and look at the memory."""
    if setting["backend"] == "jax":
        # Where it is installed, Keras imports TensorFlow when it serialises a layer, as `mixify` does: 0.4 GiB.
        sys.modules["tensorflow"] = None
    import keras

    from benchmarks.augmentation import natural_crops

    images = natural_crops(setting["batch"], setting["side"]).astype("float32")
    labels = np.eye(10, dtype="float32")[np.arange(setting["batch"]) % 10]
    steps = {name: _step(name, setting, images, labels) for name in setting["methods"]}
    if not setting["rounds"]:
        (step,) = steps.values()
        before = _resident("VmRSS")
        for _ in SITES:
            step()
        peak = _resident("VmHWM")
        return {"memory": {"peak": peak, "growth": peak - before}}
    seconds = _joined(interleave(_apart(steps), setting["rounds"]))
    rows = []
    for name, taken in seconds.items():
        rows.append({"method": name, **ratio(taken, seconds["plain"])})
        print(f"{setting['network']} {setting['backend']} {name:36} {rows[-1]['median']:.3f}", flush=True)
    backend = keras.backend.backend()
    return {"rows": rows, "plain_seconds": float(np.median(seconds["plain"])), "versions": versions("keras", backend)}


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
