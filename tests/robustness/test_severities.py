"""Severities raise the error of a trained network."""

import json
from pathlib import Path

import pytest

from keras_mma import robustness
from tests.robustness import networks

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
    assert len(report["corruption"]["results"]) == 14
    assert len(rising(report)) >= 12


@pytest.mark.slow
def test_errors_rise_on_digits_of_48_pixels(needs_tensorflow):
    """Of glass blur and elastic transform the third severity is milder than the second."""
    model, dataset = networks.digits_network(8, image_size=48)
    report = robustness.evaluate(model, dataset, only=["corruption"])
    assert report["clean"]["error"] < 0.1
    # Of 450 images: two standard deviations of an error of 5 %.
    assert len(rising(report, tolerance=0.02)) >= 12, rising(report, 0.02)
