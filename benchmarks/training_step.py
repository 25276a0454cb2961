"""The time and the peak memory of a training step with each method, measured in separate processes.

    python -m benchmarks.training_step '{"network": "preactresnet18", "batch": 32, ...}'

prints one line of JSON. `benchmarks.throughput` starts these processes.
"""

import json
import sys

import numpy as np

from benchmarks.records import stamp, versions
from benchmarks.timing import in_process, interleave, ratio
from keras_mma.layers import MIXERS, CatchUpMix, CutMix, SaliencyGrafting, SaliencyMix

MMA = "SaliencyMix + MMA"
SUMIX = "CutMix, label by sumix"
CATCH_UP = "CatchUpMix, site 1"
MEAN = "SaliencyMix + MMA, mean over sites"
POINTS = {"preactresnet18": ("stage1", "stage2"), "resnet50": ("conv2_block3_out", "conv3_block4_out")}
#: Sites are drawn uniformly, so the mean over these is a step of a model with all of them.
SITES = ("SaliencyMix", "SaliencyMix, site 1", "SaliencyMix, site 2")
ATTRIBUTIONS = ("SaliencyGrafting, activation", "SaliencyGrafting, gradient")
#: The network of the attribution gets images of this side. At half the side, the last maps of PreActResNet-18 have
#: 2 x 2 pixels, for which the convolutions of XLA take thirty times as long on a CPU.
SMALLER, SMALLER_SIDE = " at 18 pixels", 18
CHEAPER = tuple(name + SMALLER for name in ATTRIBUTIONS)
STAGE = "SaliencyGrafting, activation at stage2"
GRADIENTS = ("AttentiveMix, gradient", "PuzzleMix, gradient")
#: All mixers, at the input only.
AT_INPUT = {mixer.__name__: mixer for mixer in MIXERS.values()}
OTHERS = tuple(name for name in AT_INPUT if name != "SaliencyMix")
#: Mixers with default arguments whose masks need no saliency.
MASK_ONLY = tuple(name for name, mixer in AT_INPUT.items() if not mixer.uses_saliency and name != "RandomChoice")
BASIC = ("plain", *SITES, *ATTRIBUTIONS, *OTHERS)
DETECTORS = ("SaliencyMix, spectral_residual", "SaliencyMix, frequency_tuned")
ALL = (*BASIC, MMA, STAGE, *DETECTORS, *GRADIENTS, SUMIX, CATCH_UP)
MEMORY = ("plain", "SaliencyMix", MMA)
SETTING = ("network", "batch", "side", "backend", "xla")


def settings(quick=False):
    """The settings of all runs, a list for the time and a list for the memory: networks, batches and methods."""
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
    # Several runs, because a process holds the networks of all its methods at once.
    times = [
        {**small, **without, "methods": ALL},
        {**small, **with_xla, "methods": BASIC},
        {**small, **jax, "methods": BASIC},
        *({**network, "methods": ("plain", *SITES, *ATTRIBUTIONS)} for network in large),
        {**small, **with_xla, "methods": ("plain", MMA, "MixUp", "CutMix")},
        {**small, **jax, "methods": ("plain", MMA, "MixUp", "CutMix")},
        *({**network, "methods": ("plain", MMA, *OTHERS)} for network in large),
        {**small, **without, "methods": ("plain", *CHEAPER, STAGE + SMALLER)},
        *({**small, **where, "methods": ("plain", *CHEAPER, STAGE)} for where in (with_xla, jax)),
        *({**small, **where, "methods": ("plain", *GRADIENTS, SUMIX, CATCH_UP)} for where in (with_xla, jax)),
    ]
    memory = [
        {**small, **without, "methods": (*MEMORY, *ATTRIBUTIONS, *OTHERS)},
        {**small, **with_xla, "methods": MEMORY},
        {**small, **jax, "methods": MEMORY},
        *({**network, "batch": 16, "methods": MEMORY} for network in large),
    ]
    return times, memory


def measure(rounds, quick=False, only=None, kept=()):
    """Measure the part `step` of the record: the time of training steps.

    Args:
        rounds: Number of times that each step is timed.
        quick: Whether to use tiny sizes.
        only: Index of a single run to measure; all runs by default.
        kept: With `only`, the runs that were measured before. The new run replaces one of them or follows them.

    Yields:
        After each run, a dict with `runs`: all runs so far, each with its setting, `rounds` and `rows`.
    """
    yield from _each(settings(quick)[0], _time, rounds, only, kept)


def measure_memory(rounds, quick=False, only=None, kept=()):
    """Measure the part `memory` of the record; see `measure`. `rounds` is the number of processes for each method."""
    yield from _each(settings(quick)[1], _memory, rounds, only, kept)


def _each(settings, measure_run, rounds, only, kept):
    part = {"runs": list(kept if only is not None else ())}
    for index, setting in enumerate(settings):
        if only in (None, index):
            run = {**setting, "rounds": rounds, "measured": stamp(), **measure_run(setting, rounds)}
            part["runs"][index : index + 1] = [run]
            yield part


def check_run(settings, only, kept):
    """Raise a `ValueError` unless a single run can be added to the runs that are kept.

    Args:
        settings: List of the settings of all runs.
        only: Index of the run.
        kept: The runs that were measured before; they must have these settings.
    """
    if only not in range(min(len(settings), len(kept) + 1)):
        raise ValueError(
            f"--run must be below {len(settings)}, and at most the number of runs in the record, {len(kept)}. "
            f"Received: --run {only}"
        )
    for index, (setting, run) in enumerate(zip(settings, kept, strict=False)):
        if {name: setting[name] for name in SETTING} != {name: run[name] for name in SETTING}:
            raise ValueError(f"--run needs a record of the same settings. Received: a record whose run {index} differs")


def _time(setting, rounds):
    return _in_process({**setting, "rounds": rounds})


def _memory(setting, rounds):
    memory = {name: [] for name in setting["methods"]}
    for _ in range(rounds):
        for name, processes in memory.items():
            processes.append(_in_process({**setting, "methods": [name], "rounds": 0})["memory"])
            print(f"{setting['network']} {setting['backend']} memory {name:36} {processes[-1]}", flush=True)

    def values(name, kind):
        return [process[kind] for process in memory[name]]

    rows = [
        {"method": name, **{kind: ratio(values(name, kind), values("plain", kind)) for kind in ("peak", "growth")}}
        for name in memory
    ]
    return {"rows": rows, "plain_mebibytes": float(np.median(values("plain", "peak")))}


def _in_process(setting):
    env = {"KERAS_BACKEND": setting["backend"], "TF_CPP_MIN_LOG_LEVEL": "2"}
    return in_process("training_step", json.dumps(setting), env=env)


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


def mixer_of(name, network, side=32):
    """The mixer of a method, or `None`, and the names of the layers after which it mixes features."""
    if name.endswith(SMALLER):
        mixer, at = mixer_of(name.removesuffix(SMALLER), network, side)
        return mixer.copy(detector_size=SMALLER_SIDE), at
    points = POINTS.get(network, ("stage1", "stage2"))
    special = {
        "plain": lambda: (None, ()),
        "SaliencyMix, site 1": lambda: (SaliencyMix(sites=(1,)), points[:1]),
        "SaliencyMix, site 2": lambda: (SaliencyMix(sites=(1,)), points[1:]),
        SUMIX: lambda: (CutMix(label="sumix"), ()),
        CATCH_UP: lambda: (CutMix(sites=(1,), border="inside"), points[:1]),
        MMA: lambda: (in_turn(SaliencyMix)(), points),
        STAGE: lambda: (
            SaliencyGrafting(detector="activation", attribution_layer="stage2"),
            (),
        ),
    }
    if name in special:
        return special[name]()
    mixer, _, detector = name.partition(", ")
    return AT_INPUT[mixer](**({"detector": detector} if detector else {})), ()


def _step(name, setting, images, labels):
    """A function that runs one training step of a method."""
    import keras

    from keras_mma import mixify

    mixer, at = mixer_of(name, setting["network"], setting["side"])
    model = _build(setting["network"], setting["side"])
    if mixer is not None:
        model = mixify(model, mixer, at=list(at), adapter=CatchUpMix if name == CATCH_UP else None)
    model.compile(
        keras.optimizers.SGD(1e-4),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        jit_compile=setting["xla"],
    )
    return lambda: model.train_on_batch(images, labels)


def in_turn(mixer):
    """A subclass of a mixer class whose sites fire in turn instead of being drawn."""
    import keras
    from keras import ops

    class InTurn(mixer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.turn = keras.Variable(0, trainable=False, dtype="int32", name="turn")

        def sample_site(self):
            site = ops.take(ops.convert_to_tensor(self.sites, "int32"), self.turn % len(self.sites), axis=0)
            self.turn.assign(self.turn + 1)
            return site

    return InTurn


def _apart(steps):
    """The steps in the order of a round. The step of several sites occurs once for each site.

    Other steps are placed between them, because a step is faster right after a step of the same network.
    """
    order = [(name, name) for name in steps if name != MMA]
    if MMA in steps:
        for site in reversed(range(len(SITES))):
            order.insert(1 + site * len(order) // len(SITES), (f"{MMA} {site}", MMA))
    return {part: steps[name] for part, name in order}


def _joined(seconds):
    """The seconds of each method: the steps of MMA are averaged over its sites, and so are models of one site each."""
    joined = {name: durations for name, durations in seconds.items() if not name.startswith(MMA)}
    parts = [durations for name, durations in seconds.items() if name.startswith(MMA)]
    if parts:
        joined[MMA] = np.mean(parts, axis=0)
    if all(site in joined for site in SITES):
        joined[MEAN] = np.mean([joined[site] for site in SITES], axis=0)
    return joined


def _resident(key):
    """`VmHWM` (the peak) or `VmRSS` of this process in MiB, as the kernel reports it."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def run(setting):
    """Time the steps of all methods alternately; with `rounds` 0, measure the memory of a few steps of one method."""
    if setting["backend"] == "jax":
        # If TensorFlow is installed, Keras imports it when a layer is serialized, as `mixify` does: 0.4 GiB.
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
    for name, durations in seconds.items():
        rows.append({"method": name, **ratio(durations, seconds["plain"])})
        print(f"{setting['network']} {setting['backend']} {name:36} {rows[-1]['median']:.3f}", flush=True)
    backend = keras.backend.backend()
    return {"rows": rows, "plain_seconds": float(np.median(seconds["plain"])), "versions": versions("keras", backend)}


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
