"""Reports are written as Markdown, and damaged ones are refused in one line wherever they are read."""

import copy
import json
import re

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from keras_mma import forms, markdown
from keras_mma.robustness import InputError, comparison, page, report
from keras_mma.robustness.output import OutputFolder
from keras_mma.robustness.sections import SECTIONS, sections_of
from keras_mma.robustness.wording import complement
from tests.robustness import reports

REPORT = reports.report()


def test_a_report_is_read_back(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps(REPORT))
    assert report.read(tmp_path) == report.read(tmp_path / "report.json") == REPORT


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        ("model", None, "lacks model"),
        ("clean/nll", None, "clean lacks nll"),
        ("clean/error", "0.5", "clean.error must be a number from 0 to 1, and is '0.5'"),
        ("clean/error", 1.2, "clean.error must be a number from 0 to 1, and is 1.2"),
        ("clean/ece", -0.1, "clean.ece must be a number from 0 to 1, and is -0.1"),
        ("clean/error_interval", [0.1], "clean.error_interval must be a list of 2"),
        ("run", [], "run must be an object"),
        ("corruption/results/fog/severities", [{}] * 5, r"corruption.results.fog.severities\[0\] lacks error"),
        ("corruption/results/fog", {}, "corruption.results.fog lacks group"),
        ("deformation/zoom_60", {}, "deformation.zoom_60 lacks error"),
        ("occlusion/accuracy/random", [], "occlusion.accuracy.random must be a list of 7"),
        ("attack/results", [{"attack": "hammer"}], r"attack.results\[0\] lacks epsilon_255"),
    ],
)
def test_a_damaged_report_is_refused(tmp_path, path, value, match):
    damaged = copy.deepcopy(REPORT)
    *folders, last = path.split("/")
    inner = damaged
    for folder in folders:
        inner = inner[folder]
    inner[last] = value
    if value is None:
        del inner[last]
    (tmp_path / "report.json").write_text(json.dumps(damaged))
    with pytest.raises(InputError, match=f"report.json is a damaged report: {match}$"):
        report.read(tmp_path)


def places(value, path=()):
    """The path of every value in a report, and of the first and the last of a list."""
    numbered = (
        {index: value[index] for index in (0, len(value) - 1)[: len(value)]} if isinstance(value, list) else value
    )
    for key, part in numbered.items():
        yield (*path, key)
        if isinstance(part, dict | list):
            yield from places(part, (*path, key))


def without(value, path):
    """A copy of a report without the value at a path. What the path does not go through is shared."""
    key, *rest = path
    value = copy.copy(value)
    if rest:
        value[key] = without(value[key], rest)
    else:
        del value[key]
    return value


def test_whatever_is_missing_is_refused_or_not_needed():
    """A comparison fails on no report that is accepted, whichever value it has lost."""
    accepted = 0
    for path in places(REPORT):
        damaged = without(REPORT, path)
        if forms.fault(damaged, report.FORM) is None:
            accepted += 1
            comparison.to_markdown([REPORT, damaged], "ab", comparison.differences([REPORT, damaged]))
            [section.errors(damaged) for section in SECTIONS if section.name in damaged]
    assert accepted > 50


def test_json_that_is_no_report_is_refused(tmp_path):
    unreal = [json.dumps(REPORT | {"more": "number"}).replace('"number"', word) for word in ("NaN", "1e999")]
    for text in ("[" * 100_000, "", "[]", "{}", json.dumps({"schema": report.SCHEMA}), *unreal):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(
            InputError,
            match="report.json (cannot be read|must hold a JSON object|must be a report|is a damaged report)",
        ):
            report.read(tmp_path)


def test_markdown_has_every_section_and_says_what_was_not_measured():
    text = page.to_markdown(REPORT, {"clean.png": "", "attack.png": ""})
    times = "forward 50 %, gradient 30 %, perturbation 10 %, rest 10 %"
    assert f"| wall time | 2 s ({times}), 0 parts from an interrupted run |" in text
    old = REPORT | {"run": {key: value for key, value in REPORT["run"].items() if key != "time"}}
    assert "| wall time | 2 s, 0 parts from an interrupted run |" in page.to_markdown(old)
    for title in ("Clean", "Corruption", "Deformation", "Occlusion", "Attack", "The run"):
        assert f"\n## {title}\n\n" in text
    assert "![Clean](clean.png)" in text and "![Attack](attack.png)" in text and "![Occlusion]" not in text
    assert "the test split; decoded by tensorflow-datasets" in text and "Not measured" not in text
    part = page.to_markdown(reports.report(only=["deformation"]) | {"warnings": ["careful"]})
    assert "## Corruption\n\nNot measured.\n\n## Deformation\n\nAngles" in part and "**Warning: careful.**" in part
    assert [section.name for section in sections_of(reports.report(only=["deformation"]))] == ["clean", "deformation"]


def test_the_summary_says_it_in_words():
    report_ = reports.report(0.25)
    for severity, error in zip(
        report_["corruption"]["results"]["fog"]["severities"], (0.3, 0.4, 0.5, 0.5, 0.9), strict=True
    ):
        severity["error"] = error
    report_["corruption"]["results"]["fog"]["mean_error"] = 0.52
    report_["corruption"]["mean_error"] = 0.31
    report_["deformation"]["zoom_60"]["error"] = 0.7
    text = page.to_markdown(report_).split("## Summary\n\n")[1].split("\n\n## ")[0]
    assert "**25.0 % of the unchanged images are misclassified.**" in text
    assert "The model is overconfident: its mean confidence is 90.0 % at an accuracy of 75.0 %" in text
    assert r"most errors is a|b\_\*c\*\<i\> (50.0 %), that with fewest cat (8.3 %)." in text
    assert "the error rises from 25.0 % to 31.0 %.**" in text
    assert "largest in fog (mean 52.0 %), Gaussian noise (mean 25.0 %)" in text and "up to 90.0 % in fog." in text
    assert "JPEG compression" in text and "are harmless: at most 2 points more" in text
    assert "The most harmful deformation is zoom in 60 %:** the error rises from 25.0 % to 70.0 %" in text
    assert "With 50.0 % of the patches black, accuracy goes from 75.0 %** to 75.0 % where they are drawn" in text
    assert "PGD-20 with changes of at most 8/255 leaves 75.0 % of the images correct" in text
    severe = reports.report(0.25)
    for result in severe["corruption"]["results"].values():
        result["severities"][4]["error"] = 0.5
    assert "No corruption is harmless. The mildest, JPEG compression, adds 25.0 points" in page.to_markdown(severe)


@pytest.mark.parametrize(
    ("shape", "published", "change"),
    [
        ((32, 32), None, None),
        ((16, 16), "CIFAR, whose images have 32 pixels", "more"),
        ((64, 48), None, None),
        ((96, 96), "Tiny-ImageNet, whose images have 64 pixels", "less"),
        ((256, 200), None, None),
        ((512, 300), "ImageNet, whose images have 224 pixels", "less"),
    ],
)
def test_severities_of_another_image_size_are_cautioned_of(shape, published, change):
    other = copy.deepcopy(REPORT)
    other["dataset"]["image_shape"] = [*shape, 3]
    cautions = [line for line in report.headlines(other) if line.startswith("caution: ")]
    assert len(cautions) == (published is not None) == page.to_markdown(other).count("**Caution.**")
    for caution in cautions:
        assert published in caution and f"changes {change} of the picture" in caution
    other["corruption"]["source"] = "published"
    assert "**Caution.**" not in page.to_markdown(other)


@pytest.mark.parametrize("error", [0.25, 0.0625, 1 / 3])
def test_every_plot_has_the_clean_error_with_the_digits_of_the_tables(error):
    rounded = reports.report(error)
    of_section = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## )", page.to_markdown(rounded), re.M | re.S))
    for section in SECTIONS:
        figure = Figure(layout="constrained")
        section.plot(rounded, figure)
        words = [label.get_text() for label in figure.findobj(Text)]
        shown = " ".join(words)
        clean = f"{100 * error:.1f}" if section.name in ("clean", "corruption", "deformation") else complement(error)
        assert re.search(rf"clean \w*\s*{re.escape(clean)}", shown), (section.name, shown)
        # Every other figure with decimals stands in the section.
        figures = set(re.findall(r"\d+\.\d+", " ".join(word for word in words if re.search("[a-z]", word))))
        expected = of_section[section.name.capitalize()] + clean
        assert figures <= set(re.findall(r"\d+\.\d+", expected)), section.name


def test_names_stay_text():
    other = copy.deepcopy(REPORT)
    other["model"]["path"] = "runs/<script>alert(1)</script> `x` **b**"
    other["warnings"] = ["careful with `batch_size` of <b>_this_</b>"]
    html = markdown.to_html(page.to_markdown(other), {}, page.title(other))
    assert "<script>" not in html and "<b>" not in html and "<em>this" not in html and "<i>" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2 and "<code>batch_size</code>" in html
    assert "a|b_*c*&lt;i&gt;</td>" in html


def test_the_page_needs_no_other_file(tmp_path):
    with OutputFolder(tmp_path, "robustness report") as folder:
        report.save(REPORT, folder)
    html = (tmp_path / "report.html").read_text()
    assert html.count('src="data:image/png;base64,') == html.count("<img") == html.count("src=") == 5
    assert "http" not in html and "href" not in html


def test_the_most_important_figures():
    lines = report.headlines(REPORT)
    assert lines[0] == "100 of 10,000 test images of cifar10: the test split"
    assert "clean error 25.0 %, calibration error 0.0400" in lines
    assert "mean corruption error 25.0 % (regenerated, CIFAR severities)" in lines
    assert "robust accuracy 75.0 % under PGD-20 8/255" in lines
