"""Time the evaluation of changed images with and without the prefetching thread.

    python -m benchmarks.prefetching --dataset cifar10 --output docs/results/prefetching.json

A thread that competes with the model for CPU time could make an evaluation slower, so the sections of corruptions,
deformations and occlusion are measured alternately with and without it, for a small and for a large network. The
networks are not trained, which does not change the time of a call.
"""

import argparse
import contextlib
import itertools
import os
import time
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

from benchmarks import records, timing
from benchmarks.evaluation import NETWORKS
from keras_mma import datasets, robustness
from keras_mma.robustness import run
from keras_mma.robustness.classifier import from_keras
from keras_mma.robustness.sections.corruption import Corruption
from keras_mma.robustness.sections.deformation import Deformation
from keras_mma.robustness.sections.occlusion import Occlusion

SECTIONS = {"corruption": Corruption, "deformation": Deformation, "occlusion": Occlusion}
QUICK = {"images": 4, "batch_size": 2, "rounds": 1, "networks": ["wideresnet-10-1"], "sections": ["deformation"]}


@contextlib.contextmanager
def without_thread(items):
    """Like `prefetch`, but computes each item on demand, without a thread."""
    yield iter(items)


def measure(name, classifier, dataset, options):
    """Time the sections alternately with and without the thread.

    Args:
        name: Name of the network.
        classifier: `Classifier`.
        dataset: `Dataset` of the images.
        options: Arguments of the command.

    Returns:
        A list with a dict for each section: `section`, the `ratio` of the time with the thread to the time without it,
        and the seconds of the rounds.
    """
    ways, rows = {"with": run.prefetch, "without": without_thread}, []
    for section in options.sections:
        chosen = robustness.Options(limit=options.images, batch_size=options.batch_size, only=["clean", section])
        setting = run.Setting(classifier, dataset, chosen)
        classifier.check(setting.first_batch[0], dataset.classes, dataset.exact)
        parts = SECTIONS[section]().parts(setting)
        seconds = {way: [] for way in ways}
        # One round before the measured ones traces the functions. The first way of a round alternates.
        for number in range(options.rounds + 1):
            for way in itertools.islice(itertools.cycle(ways), number % 2, number % 2 + 2):
                start = time.perf_counter()
                with mock.patch.object(run, "prefetch", ways[way]):
                    run.run(parts)
                if number:
                    seconds[way].append(time.perf_counter() - start)
        ratio = timing.ratio(seconds["with"], seconds["without"])
        print(f"{name}, {section}: {records.show_ratio(ratio, 2)}")
        rows.append({"section": section, "ratio": ratio, "rounds_in_seconds": seconds})
    return rows


def main(arguments=None):
    """Measure, print the ratios and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=64, help="Number of images that are measured.")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data-dir", metavar="DIR", help="Folder of tensorflow-datasets.")
    parser.add_argument("--quick", action="store_true", help="Tiny sizes, to check that everything runs.")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file for the record.")
    options = parser.parse_args(arguments)
    for name, value in QUICK.items() if options.quick else ():
        setattr(options, name, value)
    settings = {name: value for name, value in vars(options).items() if name not in ("output", "data_dir")}
    command, backend = records.recorded_command("prefetching", arguments), keras.backend.backend()
    record = {"command": command, **settings, "backend": backend}
    record |= {"versions": records.versions("keras", backend), **records.stamp(), "networks": {}}
    for name in options.networks:
        side, build = NETWORKS[name]
        side = side if options.dataset == "digits" else None
        test = datasets.load(options.dataset, data_dir=options.data_dir, image_size=side, validation_fraction=0).test
        record["networks"][name] = measure(name, from_keras(build(test.shape, test.classes), name), test, options)
        if options.output:
            records.write_json(options.output, record)


if __name__ == "__main__":
    main()
