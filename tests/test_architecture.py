"""`docs/architecture.md` names the files that a training batch passes."""

import os
import re
import sys
from pathlib import Path

import keras
import numpy as np

import keras_mma
from keras_mma import layers

ROOT = Path(keras_mma.__file__).parent
NUMBER = 17


def files_of(step):
    """The files of the package, relative to it, whose functions a step calls."""
    files = set()

    def note(frame, event, argument):
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(f"{ROOT}{os.sep}"):
            files.add(Path(path).relative_to(ROOT).as_posix())

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        step()
    finally:
        sys.setprofile(before)
    return files


def test_a_training_batch_passes_the_files_that_are_named(needs_tensorflow):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.ReLU(name="site")(keras.layers.Conv2D(4, 3)(inputs))
    network = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))
    model = keras_mma.mixify(network, layers.SaliencyMix(sites=(0, 1), seed=0), at=["site"])
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True), run_eagerly=True)
    images, labels = np.random.uniform(0, 1, (4, 16, 16, 3)).astype("float32"), np.array([0, 1, 2, 0])
    model.train_on_batch(images, labels)  # what is only needed to build
    batch = keras.ops.convert_to_tensor(images), keras.ops.convert_to_tensor(labels)
    passed = files_of(lambda: [model.train_step(batch) for _ in range(12)])  # both sites

    page = (ROOT.parent / "docs" / "architecture.md").read_text()
    section = page.partition("**A training batch,**")[2].partition("**A SavedModel,**")[0]
    named = set(re.findall(r"`([\w/]+\.py)`", section)) - {"label_maps.py"}  # for labels that are maps
    assert passed == named and len(named) == NUMBER
    assert f"These are {NUMBER} files" in section
