"""Fit a recipe in an output folder, and resume there after an interruption."""

import contextlib
import csv
import dataclasses
import json
import math
import os
import shutil
from pathlib import Path

import keras

import keras_mma
from keras_mma import files
from keras_mma.errors import InputError
from keras_mma.study import batches

# Entries of an output folder that another process of the same training may have made.
_OWN_NAMES = (files.LOCK, "worker-")


@contextlib.contextmanager
def claim(output, recipe, data, settings=None):
    """Reserve an output folder for one training and record its settings in `config.json`.

    Args:
        output: Folder, created if it does not exist. An existing folder must be empty or hold a run of the same
            recipe on the same data.
        recipe: A `keras_mma.study.recipe.Recipe`.
        data: `keras_mma.datasets.Parts` of its dataset.
        settings: Dict of more settings that a resumed run must repeat.

    Yields:
        The folder as a `pathlib.Path`.

    Raises:
        InputError: if another process has claimed the folder, or it holds a link or something else.
    """
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise InputError(f"`output` must be a folder. Received: the file {output}")
    made = [folder for folder in (output, *output.parents) if not folder.exists()]
    files.make_folder(output)
    files.refuse_links(output)
    lock = output / files.LOCK
    is_new = not lock.exists()
    with files.locked(output, "training"):
        try:
            # The folder of the data may differ between machines: the digests say whether the images do.
            config = {name: value for name, value in dataclasses.asdict(recipe).items() if name != "data_dir"}
            _check_config(output, config | (settings or {}), _digests(recipe, data))
        except BaseException:
            if is_new:
                files.remove_lock(lock, made)
            raise
        files.remove_unfinished(output)
        yield output


def _digests(recipe, data):
    parts = ("train", "validation", "test") if recipe.validation_fraction else ("train", "test")
    return {part: getattr(data, part).digest() for part in parts}


def _check_config(output, config, digests):
    config = json.loads(json.dumps(config))
    versions = {
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "keras_mma": keras_mma.__version__,
    }
    path = output / "config.json"
    if not path.exists():
        others = [name for name in files.entries(output) if not name.startswith(_OWN_NAMES)]
        if others:
            raise InputError(f"`output` {output} must be empty or hold a training. Received: {', '.join(others[:3])}")
        files.write(path, json.dumps(config | {"sha256": digests} | versions, indent=2) + "\n")
        return
    try:
        before = files.read_json(path, {"sha256?": {str: str}})
    except InputError as error:
        if isinstance(error.__cause__, OSError):
            raise
        raise InputError(f"{path} is damaged: choose another `output` folder") from error
    changed = [name for name in config if before.get(name) != config[name]]
    # Versions may change between runs; the records of a study name them.
    changed += ["backend"] if before.get("backend", versions["backend"]) != versions["backend"] else []
    if changed:
        values = ", ".join(f"{name}={before.get(name)!r}" for name in changed)
        raise InputError(
            f"`output` {output} holds another run, with {values}: choose another folder, or delete this one"
        )
    for part, digest in digests.items():
        if before.get("sha256", {}).get(part) != digest:
            raise InputError(
                f"`output` {output} holds a run on other data: the {part} images of {config['dataset']} have changed; "
                "choose another folder"
            )


def train(
    recipe,
    model,
    train_data,
    validation_data=None,
    output=None,
    devices=1,
    resumable=True,
    verbose="auto",
    callbacks=(),
):
    """Fit a model, resuming where an interrupted call with the same `output` stopped.

    Into the folder go `history.csv` and, in `states/`, the weights and the state of the optimizer after the last
    two epochs. An interrupted and resumed training gives the history of an undisturbed one.

    Args:
        recipe: A `keras_mma.study.recipe.Recipe`.
        model: The compiled model, see `keras_mma.study.recipe.build`.
        train_data: The training images, a `keras_mma.datasets.Dataset`.
        validation_data: Images that are evaluated after each epoch, a `Dataset` or `None`.
        output: Folder that has been claimed, or `None` to write nothing.
        devices: Number of parts into which a batch is split.
        resumable: Whether to keep states. Several workers cannot: theirs could be of different epochs.
        verbose: As for `keras.Model.fit`.
        callbacks: More `keras.callbacks.Callback`s.

    Returns:
        Dict from `"epoch"` and the name of each metric to the list of its values, one for each epoch.
    """
    log = EpochLog(output, resumable)
    log.restore(model)
    if log.epochs < recipe.epochs:
        validation = None
        if validation_data is not None:
            validation = batches.evaluation_batches(validation_data, recipe.batch_size, devices)
        model.fit(
            batches.training_batches(recipe, train_data, log.epochs, devices),
            validation_data=validation,
            initial_epoch=log.epochs,
            epochs=recipe.epochs,
            shuffle=False,  # the batches are shuffled already
            steps_per_epoch=batches.steps_per_epoch(recipe, len(train_data), devices),
            callbacks=[log, *callbacks],
            verbose=verbose,
        )
    return log.history


def is_finished(output, recipe):
    """Whether a folder holds all epochs of a training."""
    return len(read_rows(Path(output) / "history.csv")) >= recipe.epochs


class EpochLog(keras.callbacks.Callback):
    """Writes the history and the state of a training after each epoch, each file completely or not at all.

    Keras' `CSVLogger` and `BackupAndRestore` write in place: a process that is killed meanwhile leaves half a line, or
    weights of one epoch beside the number of another.

    Args:
        output: Folder, or `None` to write nothing.
        keep_states: Whether to write states beside the history.
    """

    def __init__(self, output, keep_states=True):
        super().__init__()
        self._folder, self._keep_states = None if output is None else Path(output), keep_states
        self._rows = {} if output is None else read_rows(self._folder / "history.csv")

    @property
    def epochs(self):
        """Number of finished epochs."""
        return len(self._rows)

    @property
    def history(self):
        """Dict from column to values."""
        return _columns(self._rows)

    def restore(self, model):
        """Load the newest state of a model whose epochs are all in the history, and drop later rows."""
        states = {} if self._folder is None else _states(self._folder)
        complete = next(epoch for epoch in range(len(self._rows) + 1) if epoch not in self._rows)
        usable = sorted((epochs for epochs in states if epochs <= complete), reverse=True)
        model.optimizer.build(model.trainable_variables)
        for epochs in usable:
            try:
                model.load_weights(states[epochs])
            except Exception:  # a damaged file may raise nearly anything; the state before it remains
                continue
            self._rows = {epoch: self._rows[epoch] for epoch in range(epochs)}
            return
        if usable:
            raise InputError(f"{self._folder / 'states'} is damaged: choose another `output` folder")
        self._rows = {}

    def on_epoch_end(self, epoch, logs=None):
        self._rows[epoch] = {name: float(value) for name, value in sorted((logs or {}).items())}
        if self._folder is None:
            return
        columns = self.history
        lines = [",".join(columns), *(",".join(map(repr, row)) for row in zip(*columns.values(), strict=True))]
        files.write(self._folder / "history.csv", "\n".join(lines) + "\n")
        if self._keep_states:
            self._save_state(epoch + 1)

    def _save_state(self, epochs):
        folder = self._folder / "states"
        folder.mkdir(exist_ok=True)
        temporary = folder / f"unfinished-{os.getpid()}.weights.h5"
        variables = [*self.model.variables, *self.model.optimizer.variables]
        # HDF5 crashes where the disk is full.
        files.require_space(folder, 4 * sum(math.prod(variable.shape) for variable in variables))
        try:
            self.model.save_weights(temporary)
            files.replace(temporary, folder / f"{epochs:05}.weights.h5")
        finally:
            temporary.unlink(missing_ok=True)
        for number, path in _states(self._folder).items():
            if number not in (epochs - 1, epochs):
                path.unlink()
        for path in folder.glob("unfinished-*.weights.h5"):  # of a process that was killed: the folder is locked
            path.unlink()


def _states(folder):
    """The saved states of a run, by the number of finished epochs."""
    paths = (folder / "states").glob("[0-9]*.weights.h5")
    return {int(path.name.partition(".")[0]): path for path in paths}


def read_rows(path):
    """The complete rows of a `history.csv` by epoch: the last, where an epoch was run twice.

    Truncated lines, and lines joined to a truncated one, are skipped.
    """
    path = Path(path)
    if not path.exists():
        return {}
    lines = [line for line in path.read_text(errors="replace").splitlines(keepends=True) if line.endswith("\n")]
    lines = [line for line in lines if len(line) < csv.field_size_limit()]
    rows = {}
    for row in csv.DictReader(lines, quoting=csv.QUOTE_NONE):
        if None in row or None in row.values():
            continue
        try:
            epoch = int(row.pop("epoch"))
            rows[epoch] = {name: float(value) for name, value in row.items()}
        except (KeyError, ValueError):
            continue
    return rows


def _columns(rows):
    names = list(next(iter(rows.values()), {}))
    return {"epoch": sorted(rows)} | {
        name: [rows[epoch].get(name, math.nan) for epoch in sorted(rows)] for name in names
    }


def save(model, output):
    """Write `model.keras` and, where Keras can, `saved_model/`, each completely or not at all: not on PyTorch.

    Args:
        model: A Keras model.
        output: Folder that has been claimed. Files of an earlier call are replaced.
    """
    output = Path(output)
    with files.temporary_folder(output) as folder:
        model.save(folder / "model.keras")
        files.replace(folder / "model.keras", output / "model.keras")
        if keras.backend.backend() == "torch":
            return
        model.export(folder / "saved_model", verbose=False)
        shutil.rmtree(output / "saved_model", ignore_errors=True)
        files.replace(folder / "saved_model", output / "saved_model")
