"""Severities raise the error of a trained network."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_mma import robustness
from keras_mma.robustness.severities import REGENERATED

REPORT = Path(__file__).parents[2] / "docs" / "results" / "robustness" / "report.json"


def rising(report, tolerance=0.0):
    """The corruptions whose error never falls by more than the tolerance from one severity to the next."""
    names = set()
    for name, result in report["corruption"]["results"].items():
        errors = [severity["error"] for severity in result["severities"]]
        if all(after >= before - tolerance for before, after in zip(errors, errors[1:], strict=False)):
            names.add(name)
    return names


def test_errors_rise_in_the_report_on_cifar10():
    report = json.loads(REPORT.read_text())
    assert report["dataset"]["name"] == "cifar10" and report["dataset"]["n"] >= 1000
    assert set(report["corruption"]["results"]) == set(REGENERATED)
    assert len(rising(report)) >= 12


@pytest.mark.slow
def test_errors_rise_on_digits_of_36_pixels(needs_tensorflow):
    """By ImageNet's table, of which glass blur and elastic transform fall at their third severity by themselves."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = np.round(255 * np.clip(zoom(data.images / 16.0, (1, 4.5, 4.5), order=1), 0, 1)).astype("uint8")[..., None]
    x, x_test, y, y_test = train_test_split(images, data.target, test_size=0.25, stratify=data.target, random_state=0)
    model = keras.Sequential(
        [
            keras.Input((36, 36, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(12, 5, strides=3, activation="relu"),
            keras.layers.Conv2D(24, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, batch_size=64, epochs=8, verbose=0)
    report = robustness.evaluate(model, (x_test, y_test), only=["corruption"])
    assert report["clean"]["error"] < 0.1
    # Of 450 images: two standard deviations of an error of 5 %.
    assert len(rising(report, tolerance=0.02)) >= 12, rising(report, 0.02)
