"""The whole evaluation: a model and a data set in, a report out."""

import datetime
import hashlib
import importlib.util
import json
import platform
import shutil
from pathlib import Path

import numpy as np

from keras_mma.errors import InputError
from keras_mma.robustness import checks, files, model, parts, published, report, sources, summary
from keras_mma.robustness.severities import label_of


class NotRepeatable(RuntimeError):
    """Two identical calls of a model disagree."""


def evaluate(
    classifier,
    dataset,
    only=None,
    limit=None,
    batch_size=128,
    seed=0,
    preprocess=None,
    outputs=None,
    signature=None,
    corruptions="regenerate",
    data_dir=None,
    image_size=None,
    baseline=None,
    restarts=2,
    saliency="fine_grained",
    output=None,
    progress=False,
):
    """Measure how an image classifier holds up: clean, corrupted, deformed, occluded and attacked.

    Args:
        classifier: A SavedModel's folder, a `.keras` file, a Keras model or a `Classifier`.
        dataset: A name, see `sources.load`; a pair of uint8 images (n, height, width, channels) and class numbers; or a
            `Dataset`.
        only: Names of sections to measure, of `clean`, `corruption`, `deformation`, `occlusion`, `attack`; all by
            default. `clean` is always measured.
        limit: Number of images, drawn by the seed; all by default.
        batch_size: Images at once, which sets the memory that is needed.
        seed: Int from 0, for everything random.
        preprocess: `Preprocess` from pixels 0 to 255 to the model's input, or words for `Preprocess.parse`.
        outputs: `"logits"` or `"probabilities"`; told from the values by default.
        signature: Name of a SavedModel's signature.
        corruptions: `"regenerate"`, `"tfds"` (CIFAR-10-C of tensorflow-datasets) or a folder of published `.npy` files.
        data_dir: Folder of tensorflow-datasets.
        image_size: Size to which the pictures of a `folder:PATH` are resized.
        baseline: Report, or folder of one, against which corruption errors are also given.
        restarts: Random starts of PGD.
        saliency: Name of the detector that orders the patches of the occlusion.
        output: Folder for `report.json`, `report.md` and plots. Parts that an interrupted run has finished there are
            not measured again. Nothing is written if `None`.
        progress: Whether to show a bar on a terminal.

    Returns:
        The report as a dict of plain values; docs/robustness.md says what is in it.

    Raises:
        InputError: if something given cannot be used.
        NotRepeatable: if two identical calls of the model disagree.

    Example:

    >>> from keras_mma import robustness
    >>> model = keras.Sequential([keras.Input((16, 16, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    >>> report = robustness.evaluate(model, "digits", only=["clean"], limit=100)
    >>> report["clean"]["n"], report["model"]["outputs"]
    (100, 'logits')
    """
    sections = checks.check_options(only, limit, batch_size, seed, outputs, restarts, image_size, saliency)
    if output is not None:
        output = Path(output)
        checks.check_writable(output)
    other = files.read_report(baseline) if baseline is not None else None
    if other is not None and "corruption" not in sections:
        raise InputError("--baseline has a meaning for the section corruption only")
    classifier = _as_classifier(classifier, signature, preprocess)
    dataset = _as_dataset(dataset, data_dir, image_size)
    source = _as_source(corruptions, dataset, data_dir) if "corruption" in sections else None
    setting = parts.Setting(classifier, dataset, source, limit, batch_size, seed, restarts, saliency)
    _, images, labels = next(dataset.batches(setting.rows, batch_size))
    checks.check_size(images.shape[1:], sections)
    classifier.settle(images, dataset.classes, dataset.exact, outputs)
    repeatable = _check_repeatable(classifier, images)
    head = _head(setting, images.shape[1:], repeatable)
    folder = None
    if output is not None:
        checks.check_output(output, head, sections)
        folder = output / "unfinished" / _key(head, setting)
    if other is not None:
        checks.check_baseline(head, other, baseline, parts.corruption_names(setting))
    warnings, reason = [], None
    if "attack" in sections:
        reason = classifier.why_no_gradient(images, labels)
    todo = [
        part for section in sections if not (section == "attack" and reason) for part in parts.MAKERS[section](setting)
    ]
    results, resumed = parts.run(todo, folder, progress)
    whole = head | {"clean": {key: value for key, value in results["clean"].items() if key != "seconds"}}
    warnings += _near_chance(whole["clean"], classifier)
    if "corruption" in sections:
        whole["corruption"] = summary.of_corruption(
            results,
            whole["clean"]["error"],
            source is None,
            whole["run"]["corruptions"],
            len(setting.rows) < len(dataset),
        )
        if other is not None:
            whole["corruption"]["baseline"] = summary.against(whole, other, baseline)
    if "deformation" in sections:
        whole["deformation"] = summary.of_deformation(results)
    if "occlusion" in sections:
        whole["occlusion"] = summary.of_occlusion(results, saliency)
    if "attack" in sections and reason:
        whole["attack"] = {"left_out": reason, "results": []}
        warnings.append(f"attacks are left out: {reason}")
    elif "attack" in sections:
        whole["attack"], masked = summary.of_attack(results, restarts)
        warnings += masked
    whole["run"] |= {"seconds": sum(one["seconds"] for one in results.values()), "parts_resumed": resumed}
    whole["warnings"] = warnings
    if output is not None:
        report.save(whole, output)
        shutil.rmtree(output / "unfinished", ignore_errors=True)
    return whole


def _as_classifier(given, signature, preprocess):
    if isinstance(given, model.Classifier):
        return given
    if preprocess is not None and not isinstance(preprocess, model.Preprocess):
        preprocess = model.Preprocess.parse(preprocess)
    if isinstance(given, str | Path):
        return model.load(given, signature, preprocess)
    return model.from_keras(given, preprocess=preprocess)


def _as_dataset(given, data_dir, image_size):
    if isinstance(given, sources.Dataset):
        return given
    if isinstance(given, str):
        return sources.load(given, data_dir, image_size)
    images, labels = given
    return sources.Dataset.of_arrays(np.asarray(images), labels)


def _as_source(corruptions, dataset, data_dir):
    if corruptions == "regenerate":
        return None
    if corruptions == "tfds":
        return published.TensorflowDatasets(dataset.name, data_dir)
    return published.Folder(corruptions, dataset)


def _check_repeatable(classifier, images):
    classifier.predict(images)  # the first call may choose among kernels
    first, second = classifier.predict(images), classifier.predict(images)
    if not np.array_equal(first, second):
        difference = float(np.abs(first - second).max())
        raise NotRepeatable(
            f"two identical calls of the model on {len(images)} images disagree, by up to {difference:.3g}: no figure "
            "of it could be trusted. Is something random still active in it, such as dropout or augmentation?"
        )
    return {"images": len(images), "identical": True}


def _head(setting, image_shape, repeatable):
    """What is known before anything is measured."""
    dataset, source = setting.dataset, setting.published
    label = source.label if source else label_of(*image_shape[:2])
    return {
        "schema": files.SCHEMA,
        "model": setting.classifier.description
        | {
            "input_shape": list(setting.classifier.input_shape),
            "input_dtype": setting.classifier.dtype,
            "preprocess": str(setting.classifier.preprocess),
        },
        "dataset": {
            "name": dataset.name,
            "n": len(setting.rows),
            "total": len(dataset),
            "classes": dataset.classes,
            "image_shape": list(image_shape),
            "sha256": dataset.digest(setting.rows, setting.batch_size),
        },
        "run": {
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seed": setting.seed,
            "batch_size": setting.batch_size,
            "limit": setting.limit,
            "corruptions": label,
            "repeatable": repeatable,
            "versions": _versions(setting.classifier.description["kind"]),
        },
    }


def _versions(kind):
    """Versions of what has a part in the figures."""
    import keras
    import scipy

    import keras_mma

    found = {"python": platform.python_version(), "keras_mma": keras_mma.__version__, "keras": keras.__version__}
    found |= {"backend": keras.backend.backend(), "numpy": np.__version__, "scipy": scipy.__version__}
    for name in sorted({keras.backend.backend(), "tensorflow" if kind == "SavedModel" else keras.backend.backend()}):
        found[name] = importlib.import_module(name).__version__
    for name, title in (("cv2", "opencv"), ("PIL", "Pillow")):
        if importlib.util.find_spec(name):
            found[title] = importlib.import_module(name).__version__
    return found


def _key(head, setting):
    """What makes the parts of two runs the same; which sections are asked for does not matter."""
    run = {key: head["run"][key] for key in ("seed", "batch_size", "corruptions")}
    source = setting.published.identity if setting.published else None
    what = [head["model"] | {"path": ""}, head["dataset"], setting.dataset.identity, run, head["run"]["versions"]]
    what += [source, setting.restarts, setting.detector]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _near_chance(clean, classifier):
    chance = 1 / classifier.description["classes"]
    if 1 - clean["error_interval"][1] > 1.2 * chance:
        return []
    return [
        f"clean accuracy {1 - clean['error']:.2%} is near chance, {chance:.2%}: the model was given pixels with "
        f"preprocessing {classifier.preprocess}; if it expects another range, say so with --preprocess"
    ]
