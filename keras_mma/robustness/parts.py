"""The parts of an evaluation: each is measured alone, kept when it is finished, and not measured again."""

import json
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_mma.robustness import attacks, corruptions, deformations, files, occlusion
from keras_mma.robustness.metrics import Tally, binomial_interval
from keras_mma.robustness.severities import CORRUPTIONS, REGENERATED, SEVERITIES

SECTIONS = ("clean", "corruption", "deformation", "occlusion", "attack")


class Part(NamedTuple):
    """Something to measure.

    Args:
        name: Such as `"corruption/fog/3"`.
        count: How many images it looks at, for the progress bar.
        measure: From a function that is told of finished images to a dict of plain values.
    """

    name: str
    count: int
    measure: Callable


class Setting(NamedTuple):
    """What every part needs to know.

    Args:
        classifier: A `Classifier` that has been settled.
        dataset: A `Dataset`.
        published: A source of published corruptions, or `None` to make them anew.
        limit: How many images, or `None` for all.
        batch_size: Images at once.
        seed: Int from 0.
        restarts: Random starts of PGD.
        detector: Name of the saliency detector of the occlusion.
    """

    classifier: object
    dataset: object
    published: object = None
    limit: int | None = None
    batch_size: int = 128
    seed: int = 0
    restarts: int = 2
    detector: str = "fine_grained"

    @property
    def rows(self):
        return self.dataset.rows(self.limit, self.seed)


def clean(setting):
    """The part of the unchanged images."""
    return [Part("clean", len(setting.rows), lambda tick: _tally(setting, lambda images, rows: images, tick))]


def corruption_names(setting):
    """The corruptions that are measured."""
    return REGENERATED if setting.published is None else CORRUPTIONS


def corruption(setting):
    """A part for each corruption and severity."""
    parts = []
    for name in corruption_names(setting):
        for severity in SEVERITIES:

            def measure(tick, name=name, severity=severity):
                if setting.published is not None:
                    return _tally(setting, lambda images, rows: images, tick, setting.published.load(name, severity))
                return _tally(
                    setting,
                    lambda images, rows: corruptions.corrupt(images, name, severity, setting.seed, rows),
                    tick,
                )

            parts.append(Part(f"corruption/{name}/{severity}", len(setting.rows), measure))
    return parts


def deformation(setting):
    """A part for each deformation."""
    return [
        Part(
            f"deformation/{name}",
            len(setting.rows),
            lambda tick, name=name: _tally(
                setting, lambda images, rows: deformations.deform(images, name, setting.seed, rows), tick
            ),
        )
        for name in deformations.DEFORMATIONS
    ]


def occlusions(setting):
    """A part for each order in which patches are dropped."""
    return [
        Part(f"occlusion/{order}", len(setting.rows), lambda tick, order=order: _occlusion(setting, order, tick))
        for order in occlusion.ORDERS
    ]


def attack(setting):
    """A part for each attack."""
    return [
        Part(
            f"attack/{name}/{epsilon}",
            len(setting.rows),
            lambda tick, name=name, epsilon=epsilon: _attack(setting, name, epsilon, tick),
        )
        for name, epsilon in attacks.ATTACKS
    ]


MAKERS = dict(zip(SECTIONS, (clean, corruption, deformation, occlusions, attack), strict=True))


def run(parts, folder=None, progress=False):
    """Measure parts, skipping those that an earlier, interrupted run has left finished.

    Args:
        parts: List of `Part`.
        folder: Where finished parts are kept, one file each, or `None` to keep none.
        progress: Whether to show a bar on the standard error stream, if that is a terminal.

    Returns:
        A dict from the names of the parts to what was measured, with `seconds` in each, and how many of them an earlier
        run had left.
    """
    from tqdm import tqdm

    results = {}
    for part in parts:
        path = folder and folder / f"{part.name.replace('/', '-')}.json"
        if path and path.is_file():
            results[part.name] = json.loads(path.read_text())
    resumed = len(results)
    total = sum(part.count for part in parts)
    done = sum(part.count for part in parts if part.name in results)
    with tqdm(total=total, initial=done, unit=" images", disable=None if progress else True, smoothing=0.05) as bar:
        for part in parts:
            if part.name in results:
                continue
            bar.set_description(part.name)
            start = time.perf_counter()
            result = part.measure(bar.update)
            results[part.name] = result | {"seconds": time.perf_counter() - start}
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
                files.write_json(folder / f"{part.name.replace('/', '-')}.json", results[part.name])
    return results, resumed


def _tally(setting, change, tick, dataset=None):
    dataset = dataset or setting.dataset
    tally = Tally()
    for rows, images, labels in dataset.batches(dataset.rows(setting.limit, setting.seed), setting.batch_size):
        tally.add(*setting.classifier.probabilities(change(images, rows)), labels)
        tick(len(rows))
    return tally.summary()


def _occlusion(setting, order, tick):
    tallies = [Tally() for _ in occlusion.SHARES]
    for rows, images, labels in setting.dataset.batches(setting.rows, setting.batch_size):
        saliency = None if order == "random" else _saliency(setting.detector, images)
        for share, tally in zip(occlusion.SHARES, tallies, strict=True):
            occluded = occlusion.occlude(images, order, share, saliency, setting.seed, rows)
            tally.add(*setting.classifier.probabilities(occluded), labels)
        tick(len(rows))
    return {"results": [tally.summary() for tally in tallies]}


def _saliency(detector, images):
    from keras import ops

    from keras_mma import saliency

    return ops.convert_to_numpy(saliency.get(detector)(ops.convert_to_tensor(images)))


def _attack(setting, name, epsilon, tick):
    survivors, count = 0, 0
    for rows, images, labels in setting.dataset.batches(setting.rows, setting.batch_size):
        alive = attacks.survives(
            setting.classifier, images, labels, name, epsilon, setting.seed, rows, setting.restarts
        )
        survivors, count = survivors + int(np.sum(alive)), count + len(rows)
        tick(len(rows))
    return {
        "n": count,
        "robust_accuracy": survivors / count,
        "robust_accuracy_interval": list(binomial_interval(survivors, count)),
    }
