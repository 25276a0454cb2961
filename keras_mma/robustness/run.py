"""Measuring: a section of the report consists of parts, each of which is measured alone and kept when finished."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Callable
from typing import NamedTuple

from keras_mma.robustness.clock import KINDS, Clock
from keras_mma.robustness.metrics import Tally
from keras_mma.robustness.prefetching import prefetch

#: Changes with the form of the results of parts, so that parts of another form are not used.
FORM = 2
#: Where finished parts are kept until the report of their evaluation is written.
UNFINISHED = "unfinished/"


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
    """What the parts of an evaluation share.

    Args:
        classifier: A `Classifier` after `check`.
        dataset: A `keras_mma.datasets.Dataset`.
        options: `Options`.
        published: A source of published corruptions, or `None` to regenerate them.
        baseline: The report against which corruption errors are also given, or `None`.
    """

    classifier: object
    dataset: object
    options: object
    published: object = None
    baseline: dict | None = None

    @functools.cached_property
    def indices(self):
        """Indices of the images that are measured."""
        return self.dataset.indices(self.options.limit, self.options.seed)

    @functools.cached_property
    def first_batch(self):
        """Images and labels of the first batch."""
        return next(self.batches())[1:]

    @functools.cached_property
    def no_gradient(self):
        """Why the model cannot be attacked, or `None`."""
        return self.classifier.why_no_gradient(*self.first_batch)

    def batches(self, dataset=None):
        """Yield (indices, images, labels) of the images that are measured, of another dataset if one is passed."""
        dataset = self.dataset if dataset is None else dataset
        indices = dataset.indices(self.options.limit, self.options.seed)
        return dataset.batches(indices, self.options.batch_size)

    @contextlib.contextmanager
    def prefetched(self, items):
        """Compute items in a thread beside the model, see `prefetch`, and measure how long they are waited for."""
        with prefetch(items) as computed:
            yield self._waited_for(computed)

    def _waited_for(self, items):
        while True:
            with self.classifier.clock.measure("perturbation"):
                item = next(items, None)
            if item is None:
                return
            yield item

    def part(self, name, change=lambda images, indices: images, load=lambda: None):
        """The part that measures the predictions for all images; its result is `Tally.summary`.

        Args:
            name: Name of the part.
            change: Function of images and their indices that returns other images.
            load: Function that returns another `Dataset`.

        Returns:
            A `Part`.
        """

        def changed():
            for indices, images, labels in self.batches(load()):
                yield change(images, indices), labels

        def measure(on_progress):
            tally = Tally()
            with self.prefetched(changed()) as batches:
                for images, labels in batches:
                    tally.add(*self.classifier.probabilities(images), labels)
                    on_progress(len(labels))
            return tally.summary()

        return Part(name, len(self.indices), measure)


class Part(NamedTuple):
    """Something to measure.

    Args:
        name: Such as `"corruption/fog/3"`.
        count: Number of images it reads, for the progress bar.
        measure: `measure(on_progress)` returns a dict of plain values; it calls `on_progress(n)` after every n images.
        needs: Names of earlier parts, whose results `measure` takes as further arguments.
    """

    name: str
    count: int
    measure: Callable
    needs: tuple[str, ...] = ()


class Section:
    """The base of the sections of the report. A new one is a subclass and an entry in `sections.SECTIONS`.

    `form` says what the section of a report must hold, see `forms.fault`. `sheet_file` is the name of the file of its
    pictures, or `None`.
    """

    name = ""
    form = {}
    sheet_file = None

    def parts(self, setting):
        """List of `Part`. Raises `InputError` if this section cannot be measured."""
        raise NotImplementedError

    def summarize(self, setting, results, report):
        """The section of the report, a dict, and a list of warnings.

        Args:
            setting: A `Setting`.
            results: Dict from the names of the parts to what was measured.
            report: The sections before this one.
        """
        raise NotImplementedError

    def tabulate(self, report):
        """List of (note, header, rows): Markdown, then a table of strings. The header is `None` without a table."""
        raise NotImplementedError

    def plot(self, report, figure):
        """Draw the section on an empty `matplotlib.figure.Figure`. A figure that stays empty is left out."""

    def headlines(self, report):
        """List of strings, the most important figures."""
        return []

    def sentences(self, report):
        """List of sentences in Markdown, what the section says in words."""
        return []

    def cautions(self, report):
        """List of sentences that a reader must know before the figures are understood."""
        return []

    def sheet(self, setting, report):
        """Pictures of the images that were measured, a `sheets.Sheet`, or `None`. Its file is `sheet_file`."""

    def compare(self, report):
        """Dict from labels to strings, the rows of a comparison, both in Markdown."""
        return {}

    def errors(self, report):
        """Dict from labels to errors, the bars of a comparison."""
        return {}

    def measures(self, report):
        """Dict from labels to errors, the rows of a table of differences."""
        return self.errors(report)

    def outcomes(self, report):
        """Dict from labels of `measures` to the error of every image, an array (n,), or `None` if it was not kept."""
        return {}

    def identity(self, report):
        """Dict of what must be the same in reports that are compared."""
        return {}


class Measured(NamedTuple):
    """What `run` returns: results by part, the seconds they took, in all and by kind, and the parts that an earlier run
    had left.
    """

    results: dict
    seconds: float
    time: dict
    resumed: list
    damaged: list


def run(parts, folder=None, key="", progress=False, clock=None):
    """Measure parts, except those that an earlier, interrupted run has finished.

    Args:
        parts: List of `Part`.
        folder: `OutputFolder` in which finished parts are kept, or `None` to keep none.
        key: What identifies the settings; parts of other settings are not used.
        progress: Whether to show a progress bar on the standard error stream, if that is a terminal.
        clock: The `Clock` of the classifier that is measured. Parts of an earlier run keep the times of that run.

    Returns:
        `Measured`. Damaged parts are measured again.
    """
    from tqdm import tqdm

    clock = clock or Clock()
    paths = {part.name: part_path(key, part.name) for part in parts}
    kept, damaged = {}, []
    for name, path in paths.items():
        if folder is not None and (folder.path / path).exists():
            try:
                kept[name] = _unpack((folder.path / path).read_text())
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                damaged.append(name)
    resumed = list(kept)
    total, done = (sum(part.count for part in parts if part.name in names) for names in (paths, kept))
    with tqdm(total=total, initial=done, unit=" images", disable=None if progress else True, smoothing=0.05) as bar:
        for part in parts:
            if part.name in kept:
                continue
            bar.set_description(part.name)
            start, before = time.perf_counter(), dict(clock.seconds)
            result = part.measure(bar.update, *(kept[name]["result"] for name in part.needs))
            seconds = time.perf_counter() - start
            kept[part.name] = {"result": result, "seconds": seconds, "time": clock.since(before, seconds)}
            if folder is not None:
                folder.write(paths[part.name], _pack(kept[part.name]))
    results = {name: entry["result"] for name, entry in kept.items()}
    seconds = sum(entry["seconds"] for entry in kept.values())
    kinds = {kind: sum(entry["time"][kind] for entry in kept.values()) for kind in (*KINDS, "rest")}
    return Measured(results, seconds, kinds, resumed, damaged)


def part_path(key, name):
    """The file of a finished part, below the output folder, of the settings that a key identifies."""
    return f"{UNFINISHED}{key}/{name.replace('/', '-')}.json"


def _pack(entry):
    text = json.dumps(entry, allow_nan=False)
    return json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "entry": text})


def _unpack(text):
    packed = json.loads(text)
    if hashlib.sha256(packed["entry"].encode()).hexdigest() != packed["sha256"]:
        raise ValueError("damaged")
    return json.loads(packed["entry"])
