"""Studies without training runs: plans, and records with accuracies that are made up."""

import json
import os
import time
import zlib

import numpy as np

from keras_mma import packing
from keras_mma.study import arms, study_cells, study_plan

RECIPE = {"dataset": "digits", "batch_size": 64, "learning_rate": 0.1, "weight_decay": 5e-4}
DIMENSIONS = {"fraction": [1.0], "network": ["wideresnet-10-1"], "image_size": [None], "epochs": [3]}
IMAGES = {"dataset": "digits", "n": 1000, "classes": 10, "selection": "the test part", "sha256": "ab"}


def make_plan(methods=("none", "cutmix", "saliencymix+mma"), seeds=5, baseline="none", **changes):
    settings = {"margin": 0.5, "recipe": RECIPE, "dimensions": DIMENSIONS, "images": IMAGES} | changes
    return study_plan.make([arms.parse(text) for text in methods], baseline, seeds, **settings)


def make_record(cell, accuracy, images=1000, diverged=None, **changes):
    """A record; the images that are right are the easiest ones, and some more by chance."""
    rng = np.random.default_rng([cell.seed, len(cell.method)])
    easiness = np.arange(images) + rng.normal(0, 0.05 * images, images)
    correct = np.zeros(images, bool)
    correct[np.argsort(easiness)[: round(accuracy * images)]] = True
    return {
        "schema": study_cells.SCHEMA,
        "method": cell.method,
        "seed": cell.seed,
        "setting": cell.setting,
        "recipe": cell.recipe,
        "part": cell.part,
        f"{cell.part}_accuracy": accuracy,
        "images": images,
        "correct": None if diverged else packing.pack(correct),
        "diverged": diverged,
        "seconds": 60.0 + cell.seed,
        "seconds_per_epoch": {"none": 1.0, "cutmix": 1.1}.get(cell.method, 1.3) * (1 + cell.seed / 100),
        "commit": "0123abc",
        "versions": {"keras": "3"},
    } | changes


def make_records(plan_, gains, sd=0.003, mean=0.72, seed=0, images=1000):
    """Records of all cells: a mean, a gain of the method, an effect of the seed, and noise."""
    rng = np.random.default_rng(seed)
    effects = rng.normal(0, 0.006, 100)
    records = {}
    for cell in study_cells.of_plan(plan_):
        accuracy = mean + gains[cell.method] + effects[cell.seed] + rng.normal(0, sd)
        records[cell.name] = make_record(cell, round(accuracy * images) / images, images)
    return records


def measure(cell, folder):
    """A measurement as `keras_mma.study.evaluation` keeps it, and the process that made it."""
    path = study_cells.measurement_path(folder, cell.name)
    path.parent.mkdir(exist_ok=True)
    kept = {"sections": ["clean"], "limit": None, "loss": None, "accuracies": {"clean": 70.0 + cell.seed}}
    path.write_text(json.dumps(kept | {"process": os.getpid()}))


def note_threads(path, cell, output, on_epoch):
    """A training that writes down the number of threads of TensorFlow."""
    path.write_text(os.environ["TF_NUM_INTRAOP_THREADS"])
    return train(cell, output, on_epoch)


def ends(cell, output, on_epoch):
    """A training that ends its process, as the system does where memory is short."""
    os._exit(9)


def train(cell, output, on_epoch):
    """A training that resumes: a line for each epoch in a file, and an accuracy that follows from the cell."""
    output.mkdir(exist_ok=True)
    log = output / "epochs.txt"
    done = len(log.read_text().splitlines()) if log.exists() else 0
    for epoch in range(done, cell.recipe["epochs"]):
        time.sleep(cell.recipe.get("seconds", 0))
        if cell.recipe.get("fails") == [cell.method, cell.seed]:
            raise ValueError("no such layer\nsecond line")
        with log.open("a") as file:
            file.write(f"{epoch} {os.getpid()}\n")
        on_epoch(epoch + 1, cell.recipe.get("seconds", 0))
    rng = np.random.default_rng([cell.seed, zlib.crc32(cell.method.encode())])
    correct = rng.random(200) < 0.7
    diverged = 2 if cell.recipe.get("diverges") == [cell.method, cell.seed] else None
    return {
        "accuracy": 0.1 if diverged else correct.mean(),
        "correct": None if diverged else correct,
        "images": 200,
        "diverged": diverged,
        "seconds_per_epoch": 1.0,
    }


def train_beside_another(cell, output, on_epoch):
    """A training that waits until another process trains too, a minute at most."""
    (output.parent / f"process-{os.getpid()}").touch()
    deadline = time.monotonic() + 60
    while len(list(output.parent.glob("process-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    return train(cell, output, on_epoch)


def full_disk(cell, output, on_epoch):
    """A training in the middle of which the disk is full, as h5py says it."""
    if cell.seed == 1:
        raise OSError("Unable to synchronously create file (file write failed: errno = 28, 'No space left on device')")
    return train(cell, output, on_epoch)
