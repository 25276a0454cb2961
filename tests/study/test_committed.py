"""The studies in `docs/results`: their reports and pages follow from their plans and records."""

import json
import math
import re
from pathlib import Path

import pytest

from benchmarks import contrasts
from keras_mma import markdown
from keras_mma.study import report, study_plan, tables, tuning

RESULTS = Path(__file__).parents[2] / "docs" / "results"
WITHOUT_TABLE = ("digits-study",)
LEAST_SEEDS = 5  # for a verdict on a page
OCCLUSION = tuple(f"occlusion {how} (fine_grained), mean" for how in ("random", "salient first", "non-salient first"))
DEFORMATIONS = (
    *("rotation ±20°", "rotation ±40°", "shear ±28.6°", "shear ±57.3°"),
    *("zoom in 60 %", "zoom in 80 %", "zoom out 120 %", "zoom out 140 %"),
)
# The studies whose pages have contrasts, and the options with which the contrasts are computed.
GRAFTING = ("grafting-10", "grafting-20", "grafting-100")
MEANS = ("corruptions, mean (regenerated)", "deformations, mean")
CONTRASTS = [
    ("length",),
    ("saliencymix",),
    ("saliencymix-all",),
    ("mma-naive",),
    ("mma-naive", "--measures", *DEFORMATIONS),
    ("mma-naive", "--measures", "corruptions, mean (regenerated)"),
    *((study, "--measures", *OCCLUSION) for study in GRAFTING),
    *((study, "--measures", *OCCLUSION, "--relative-to", "clean") for study in GRAFTING),
    ("mma-32",),
    *(("mma-32", "--measures", name, *rest) for name in MEANS for rest in ((), ("--relative-to", "clean"))),
    ("grafting-20",),
    ("grafting-10", "--minus", str(RESULTS / "grafting-100")),
]
STUDIES = sorted(path.parent for path in RESULTS.glob("*/plan.json") if (path.parent / "report.json").exists())


def difference(made, kept, place=""):
    """The first place where two values of JSON differ; numbers may by rounding."""
    if isinstance(made, dict) and isinstance(kept, dict) and made.keys() == kept.keys():
        inner = [(made[key], kept[key], f"{place}.{key}") for key in made]
    elif isinstance(made, list) and isinstance(kept, list) and len(made) == len(kept):
        inner = [(*pair, f"{place}[{i}]") for i, pair in enumerate(zip(made, kept, strict=True))]
    elif isinstance(made, float) and isinstance(kept, float):
        return None if math.isclose(made, kept, rel_tol=1e-6, abs_tol=1e-6) else f"{place}: {made} is not {kept}"
    else:
        return None if made == kept else f"{place}: {made!r} is not {kept!r}"
    return next((text for each in inner if (text := difference(*each))), None)


def rows_of(page):
    """The rows of a page's tables that have columns named after seeds, as lists of the seeds' cells and the others."""
    found, columns = [], []
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if any(cell.startswith("seed ") for cell in cells):
            columns = [i for i, cell in enumerate(cells) if cell.startswith("seed ")]
        elif columns and cells and not cells[0].startswith("-"):
            found.append(([cells[i] for i in columns], [cell for i, cell in enumerate(cells) if i not in columns]))
        elif not cells:
            columns = []
    return found


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_the_report_follows_from_the_plan_and_the_records(study):
    plan = study_plan.read(study)
    records, tuned = tuning.read_results(study, plan)
    made = report.make(plan, records, report._robustness(study, plan, records), tuned)
    assert difference(json.loads(json.dumps(made)), json.loads((study / "report.json").read_text())) is None


def test_the_committed_page_has_the_text_of_the_report():
    study = RESULTS / "digits-study"
    made = json.loads((study / "report.json").read_text())
    images = sorted(path.name for path in study.glob("*.png"))
    pictures = {name: b"" for name in ("seeds.png", "differences.png", "cost.png") if name in images}
    page = markdown.to_html(report.to_markdown(made, list(pictures)), pictures, report.title_of(made))
    without = [re.sub(r"base64,[^\"]*", "", text) for text in (page, (study / "report.html").read_text())]
    assert without[0] == without[1]


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_the_table_of_the_page_is_that_of_the_report(study):
    made, rows = json.loads((study / "report.json").read_text()), rows_of(study / "README.md")
    if study.name in WITHOUT_TABLE or len(made["analysis"]["settings"]) > 1:
        pytest.skip("its page has no table of seeds, or one of another form")
    (setting,) = made["analysis"]["settings"]
    comparisons = {each["method"]: each for each in setting["comparisons"]}
    accuracies = {}
    for cell in made["cells"]:
        accuracies.setdefault(cell["method"], []).append(f"{cell['accuracy']:.2f}")
    found = [next(arm for arm in setting["arms"] if accuracies[arm["method"]] == seeds) for seeds, _ in rows]
    assert len({arm["method"] for arm in found}) == len(setting["arms"])
    for arm, (_, others) in zip(found, rows, strict=True):
        assert f"{arm['mean']:.2f}" in others
        if arm["method"] in comparisons:
            comparison = comparisons[arm["method"]]
            assert tables.difference(comparison) in others
            assert (comparison["verdict"] in others) == (made["plan"]["seeds"] >= LEAST_SEEDS)


@pytest.mark.parametrize(("study", "options"), [(study, options) for study, *options in CONTRASTS])
def test_the_page_has_the_contrasts_of_the_records(study, options, capsys):
    folder = RESULTS / study
    assert contrasts.main([str(folder), str(folder / "contrasts.toml"), *options]) == 0
    page = " ".join((folder / "README.md").read_text().replace("−", "-").split())
    _, _, *rows = capsys.readouterr().out.replace("−", "-").splitlines()
    for row in rows:
        _, _, mean, interval, *_ = (cell.strip() for cell in row.split("|"))
        # In prose, a difference may have the opposite sign, as in "worse by", and words before the interval.
        words = mean.strip("+-") + r"[^\d[]*" if study.startswith("grafting") else re.escape(mean) + " "
        assert re.search(words + re.escape(interval), page), f"{mean} {interval}"


#: A difference and its interval: "+0.5 points [0.3, 0.7]".
INTERVAL = re.compile(r"(-?\d+\.\d+)[^\d\[\]]{0,60}\[(-?\d+\.\d+), (-?\d+\.\d+)\]")


def intervals_in(text):
    """The differences and intervals in a text, with a positive sign: "worse by" and "better by" are not read."""
    found = [tuple(map(float, match)) for match in INTERVAL.findall(" ".join(text.replace("−", "-").split()))]
    return [(abs(mean), *sorted(map(abs, ends)), math.prod(ends) < 0) for mean, *ends in found]


def test_the_intervals_of_the_readme_are_those_of_its_studies():
    root, linked, count = RESULTS.parents[1], [], 0
    rows = (root / "README.md").read_text().partition("| claim | result | study |")[2].partition("\n\n")[0]
    for row in rows.splitlines()[2:]:
        paths = [root / path for path in re.findall(r"\((docs/[^)#]*)", row)]
        linked = [*paths, *(linked if "the same" in row else [])]
        reports = [path.with_name("report.md") for path in linked if path.with_name("report.md").exists()]
        known = [each for path in (*linked, *reports) for each in intervals_in(path.read_text())]
        for *own, around_zero in intervals_in(row):
            count += 1
            alike = [other for *other, is_around in known if is_around == around_zero]
            rounded = [other for other in alike if all(abs(a - b) < 0.051 for a, b in zip(own, other, strict=True))]
            assert rounded, f"{own} in {row}"
    assert count >= 20
