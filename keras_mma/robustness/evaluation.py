"""The evaluation: a model and a dataset in, a report out."""

import contextlib
import dataclasses
import datetime
import hashlib
import importlib
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np

from keras_mma import datasets, plotting
from keras_mma.errors import InputError, first_line
from keras_mma.robustness import comparison, report
from keras_mma.robustness.classifier import Classifier, Preprocess, from_keras, load
from keras_mma.robustness.options import Options
from keras_mma.robustness.output import OutputFolder
from keras_mma.robustness.perturbations import corruptions, published
from keras_mma.robustness.run import FORM, Setting, part_path, run
from keras_mma.robustness.sections import sections_of


class NotRepeatable(InputError):
    """A model of which two identical calls disagree."""


def evaluate(model: Any, dataset: Any, **options: Any) -> dict:
    """Measure the robustness of an image classifier to corruption, deformation, occlusion and attacks.

    Args:
        model: Folder of a SavedModel, a `.keras` file, a Keras model or a `Classifier`.
        dataset: Name of a dataset, whose test part is measured, see `keras_mma.datasets.load`; a pair of uint8 images
            (n, height, width, channels) and class indices (n,); a `keras_mma.datasets.Dataset`; or a `tf.data.Dataset`
            of batches of images, with integer values 0 to 255, and class indices, which are read into memory.
        **options: See `Options`.

    Returns:
        The report as a dict of plain values, described in docs/robustness.md.

    Raises:
        InputError: if the model, the dataset or an option cannot be used.
        NotRepeatable: if two identical calls of the model disagree.
        TypeError: if there is no such option.

    Example:

    >>> from keras_mma import robustness
    >>> model = keras.Sequential([keras.Input((16, 16, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    >>> report = robustness.evaluate(model, "digits", only=["clean"], limit=100)
    >>> report["clean"]["n"], report["model"]["outputs"]
    (100, 'logits')
    """
    known = [field.name for field in dataclasses.fields(Options)]
    for name in options:
        if name not in known:
            raise TypeError(f"`evaluate` takes the options {', '.join(known)}. Received: {name}={options[name]!r}")
    checked = Options(**options)
    if checked.output is not None:
        plotting.require()
    with _output_folder(checked.output) as folder:
        setting = _setting(model, dataset, checked)
        result = _header(setting)
        if setting.baseline is not None:
            comparison.check_comparable([result, setting.baseline], ["this evaluation", checked.baseline])
        parts = [part for section in checked.sections for part in section.parts(setting)]
        if folder is not None:  # last, because a folder that is claimed stays
            _check_folder(folder, result, checked)
        key = _key(result, setting)
        measured = run(parts, folder, key, checked.progress, setting.classifier.clock)
        if measured.damaged:
            names = ", ".join(measured.damaged)
            result["warnings"].append(f"a damaged part of the interrupted run was measured again: {names}")
        for section in checked.sections:
            result[section.name], warnings = section.summarize(setting, measured.results, result)
            result["warnings"] += warnings
        result["run"] |= {"seconds": measured.seconds, "time": measured.time, "parts_resumed": len(measured.resumed)}
        if folder is not None:
            report.save(result, folder, setting)
            folder.remove([part_path(key, part.name) for part in parts])
    return result


def _output_folder(path):
    return contextlib.nullcontext() if path is None else OutputFolder(path, "robustness report")


def _setting(model, dataset, options):
    """Load and check everything before measuring, which takes long."""
    baseline = None if options.baseline is None else report.read(options.baseline)
    classifier = _as_classifier(model, options)
    dataset = _as_dataset(dataset, options, classifier.image_shape[-1])
    source = None if options.corruptions == "regenerate" else published.source(options, dataset)
    setting = Setting(classifier, dataset, options, source, baseline)
    classifier.check(setting.first_batch[0], dataset.classes, dataset.exact, options.outputs)
    return setting


def _as_classifier(model, options):
    if not isinstance(model, str | Path):
        _refuse_options(options, ("signature",), "a SavedModel")
    if isinstance(model, Classifier):
        _refuse_options(options, ("preprocess", "output_name"), "models that are not a Classifier yet")
        return model
    preprocess = options.preprocess
    if preprocess is not None and not isinstance(preprocess, Preprocess):
        preprocess = Preprocess.parse(preprocess)
    if isinstance(model, str | Path):
        return load(model, options.signature, preprocess, options.output_name)
    return from_keras(model, preprocess=preprocess, output_name=options.output_name)


def _as_dataset(dataset, options, channels):
    if isinstance(dataset, str):
        loading = {name: getattr(options, name) for name in ("data_dir", "image_size", "resize", "skip_damaged")}
        return datasets.load(dataset, **loading).test.with_channels(channels)
    _refuse_options(options, ("image_size", "skip_damaged"), "datasets by name")
    if options.corruptions != "tfds":  # which are read from there
        _refuse_options(options, ("data_dir",), "datasets by name and `corruptions` tfds")
    if isinstance(dataset, datasets.Dataset):
        return dataset
    if isinstance(dataset, tuple) and len(dataset) == 2:
        return datasets.Dataset.of_arrays(np.asarray(dataset[0]), dataset[1])
    return _from_pipeline(dataset)


def _from_pipeline(pipeline):
    """The `Dataset` of a `tf.data.Dataset`, or any iterable, of images and class indices, which are held in memory."""
    try:
        if getattr(pipeline, "cardinality", int)() == -1:
            raise ValueError("infinitely many images")
        images, labels = ([np.asarray(part) for part in parts] for parts in zip(*pipeline, strict=True))
        join = np.stack if images[0].ndim == 3 else np.concatenate
        images, labels = join(images), join(labels)
    except (TypeError, ValueError) as error:
        raise InputError(
            "`dataset` must be a name, a pair of images and labels, a Dataset, or a tf.data.Dataset of such pairs. "
            f"Received: {type(pipeline).__name__}: {first_line(error)}"
        ) from error
    if images.dtype != np.uint8:
        if not (images == np.rint(images)).all() or images.min() < 0 or images.max() > 255:
            raise InputError(
                "`dataset` must have images of integers 0 to 255: leave scaling to the model or to `preprocess`, and "
                "round what was resized, as with dataset.map(lambda x, y: (tf.cast(tf.round(x), 'uint8'), y)). "
                f"Received: {images.dtype} from {images.min():.4g} to {images.max():.4g}"
            )
        images = images.astype("uint8")
    return datasets.Dataset.of_arrays(images, labels, name=type(pipeline).__name__)


def _refuse_options(options, names, what):
    for name in names:
        if getattr(options, name) not in (None, False):
            raise InputError(f"`{name}` applies to {what} only. Received: {name}={getattr(options, name)!r}")


def _header(setting):
    """What is known before anything is measured."""
    classifier, dataset = setting.classifier, setting.dataset
    return {
        "schema": report.SCHEMA,
        "model": classifier.description
        | {
            "input_shape": list(classifier.input_shape),
            "input_dtype": classifier.dtype,
            "preprocess": str(classifier.preprocess),
        },
        "dataset": {
            "name": dataset.name,
            "n": len(setting.indices),
            "total": len(dataset),
            "classes": dataset.classes,
            "class_names": [str(name) for name in dataset.class_names],
            "image_shape": list(dataset.shape),
            "decoding": dataset.decoding,
            "selection": dataset.selection,
            "skipped": list(dataset.skipped),
            "sha256": dataset.digest(setting.indices, setting.options.batch_size),
        },
        "run": {
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            **setting.options.recorded(),
            "repeatable": _check_repeatable(classifier, setting.first_batch[0]),
            "versions": _versions(classifier.description["kind"]),
        },
        "warnings": [],
    }


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


def _versions(kind):
    """Versions of what determines the figures."""
    import cv2
    import keras
    import PIL
    import scipy

    import keras_mma

    backend = keras.backend.backend()
    versions = {"python": platform.python_version(), "keras_mma": keras_mma.__version__, "keras": keras.__version__}
    versions |= {"backend": backend, "numpy": np.__version__, "scipy": scipy.__version__}
    for name in sorted({backend, "tensorflow" if kind == "SavedModel" else backend}):
        versions[name] = importlib.import_module(name).__version__
    return versions | {"opencv": cv2.__version__, "Pillow": PIL.__version__}


def _key(header, setting):
    """What identifies the parts of a run: not the sections that are measured, nor where they are written."""
    options = {key: value for key, value in setting.options.recorded().items() if key not in ("baseline", "limit")}
    source = setting.published.identity if setting.published else None
    if options["frost_textures"] is not None:
        options["frost_textures"] = corruptions.weather.textures_digest(options["frost_textures"])
    identity = [header["model"] | {"path": ""}, header["dataset"], setting.dataset.identity, options, source]
    text = json.dumps([FORM, *identity, header["run"]["versions"]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_folder(folder, header, options):
    """Refuse a folder whose report says something that this evaluation would not measure again."""
    folder.claim(report.files(options.sections))
    if not (folder.path / "report.json").exists():
        return
    try:
        earlier = report.read(folder.path)
    except InputError as error:
        raise InputError(
            "`output` must not hold a report of another version or a damaged one: choose another folder, or remove it. "
            f"Received: {first_line(error)}"
        ) from error
    if earlier["model"]["sha256"] != header["model"]["sha256"]:
        raise InputError(
            f"`output` must not hold the report of another model: choose another folder. "
            f"Received: {folder.path}, the report of {earlier['model']['path']}"
        )
    before, now = earlier["dataset"], header["dataset"]
    if before["name"] != now["name"]:
        raise InputError(
            f"`output` must not hold the report of another dataset: choose another folder. "
            f"Received: {folder.path}, the report of {before['name']}, for an evaluation of {now['name']}"
        )
    if before["n"] > now["n"]:
        raise InputError(
            f"`output` must not hold a report of more images: choose another folder. "
            f"Received: {folder.path}, the report of {before['n']} images, for an evaluation of {now['n']}"
        )
    lost = [section.name for section in sections_of(earlier) if section not in options.sections]
    if lost:
        raise InputError(
            f"`output` must not hold a report with sections that would be lost: choose another folder. "
            f"Received: {folder.path}, whose report has {', '.join(lost)}"
        )
