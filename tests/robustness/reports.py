"""Reports without a model, for the tests of what is made from them."""

import collections
import types

import numpy as np

from keras_mma.packing import pack
from keras_mma.robustness import Options
from keras_mma.robustness.report import SCHEMA
from keras_mma.robustness.run import Part

_BINS = {"count": [0, 10], "confidence": [0.0, 0.9], "accuracy": [0.0, 0.8]}
_BY_CLASS = {"count": [60, 40, 0], "errors": [5, 20, 0], "taken_for": [1, 0, None]}


def setting(**attributes):
    """What the sections ask of a `Setting`."""
    attributes = {
        "options": Options(),
        "classifier": types.SimpleNamespace(description={"classes": 10}, preprocess="none", attacked="outputs"),
        "dataset": types.SimpleNamespace(shape=(32, 32, 3)),
        "indices": range(100),
        "published": None,
        "baseline": None,
        "no_gradient": None,
        "part": lambda name, *arguments, **keywords: Part(name, 100, None),
    } | attributes
    return types.SimpleNamespace(**attributes)


def results(parts, error=0.25):
    """What would be measured of parts: of 100 images, the first ones are errors."""
    correct = pack(np.arange(100) >= round(100 * error))

    def result(name):
        attack = {"n": 100, "robust_accuracy": 1 - error, "robust_accuracy_interval": [0.7, 0.8], "correct": correct}
        if name == "attack/fgsm":
            return {"correct": correct, "zero_gradients": 0, "results": collections.defaultdict(lambda: dict(attack))}
        if name.startswith("attack/"):
            return attack
        tally = {"n": 100, "error": error, "error_interval": [error - 0.1, error + 0.1]}
        tally |= {"nll": 0.5, "brier": 0.3, "ece": 0.04, "correct": correct}
        if name == "clean":
            tally |= {"by_class": _BY_CLASS, "worst": []}
        return {"results": [tally] * 7} if name.startswith("occlusion/") else tally | {"bins": _BINS}

    return {part.name: result(part.name) for part in parts}


def report(error=0.25, only=None, **attributes):
    """A report of the form of `evaluate`."""
    described = {
        "schema": SCHEMA,
        "model": {"path": "runs/model", "kind": "SavedModel", "sha256": "0" * 64, "signature": "serving_default"}
        | {"input_shape": [None, 32, 32, 3], "input_dtype": "float32", "preprocess": "none", "classes": 10}
        | {"outputs": "logits", "outputs_decided": "as `outputs` says"},
        "dataset": {"name": "cifar10", "n": 100, "total": 10000, "classes": 10, "image_shape": [32, 32, 3]}
        | {
            "decoding": "decoded by tensorflow-datasets",
            "selection": "the test split",
            "skipped": [],
            "sha256": "1" * 64,
            "class_names": ["cat", "a|b_*c*<i>", "none"],
        },
        "run": {"started": "2024-01-01", **Options().recorded(), "repeatable": {"images": 100, "identical": True}}
        | {"versions": {"python": "3.12"}, "seconds": 1.5, "parts_resumed": 0}
        | {"time": {"forward": 0.75, "gradient": 0.45, "perturbation": 0.15, "rest": 0.15}},
        "warnings": [],
    }
    given = setting(options=Options(only=only), **attributes)
    for section in given.options.sections:
        measured = results(section.parts(given), error)
        described[section.name], warnings = section.summarize(given, measured, described)
        described["warnings"] += warnings
    return described
