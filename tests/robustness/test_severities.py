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
    assert report["schema"] == robustness.report.SCHEMA
    assert report["dataset"]["name"] == "cifar10" and report["dataset"]["n"] >= 1000
    assert len(report["corruption"]["results"]) == 14
    # A fall by up to six of 2,000 images counts as noise; motion blur falls by five from one severity to the next.
    assert set(report["corruption"]["results"]) - rising(report, tolerance=0.003) == {"glass_blur", "snow"}


def test_the_report_on_cifar10_is_one_that_is_read():
    report = robustness.report.read(REPORT)
    lines = REPORT.with_name("report.md").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("![")] == [
        line for line in robustness.page.to_markdown(report).splitlines() if line
    ]
    # Zooming in by the published factor hides more of the object than zooming out.
    errors = {name: result["error"] for name, result in report["deformation"].items()}
    assert min(errors["zoom_60"], errors["zoom_80"]) > max(errors["zoom_120"], errors["zoom_140"])


@pytest.mark.slow
def test_errors_rise_on_digits_of_48_pixels(needs_tensorflow):
    """Of glass blur and elastic transform the third severity is milder than the second.

    A fall by up to two points counts as noise: two standard deviations of an error of 5 % of 450 images.
    """
    model, dataset = networks.digits_network(8, image_size=48)
    report = robustness.evaluate(model, dataset, only=["corruption"])
    assert report["clean"]["error"] < 0.1
    assert len(rising(report, tolerance=0.02)) >= 12, rising(report, 0.02)
