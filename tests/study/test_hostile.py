"""Studies of others: their texts are shown as texts, and links in their folders are refused."""

import copy
import json

import pytest

from keras_mma import cli
from keras_mma.errors import InputError
from keras_mma.study import report, training
from keras_mma.study import study as studies
from tests.robustness.test_hostile import HOSTILE, SHOWN, TAGS
from tests.study import fakes
from tests.test_markdown import render


def theirs(networks):
    """The plan and the records of a study in which every text that others choose is hostile."""
    plan = copy.deepcopy(fakes.make_plan(("none", "cutmix"), 3))
    plan["arms"] = {"none": plan["arms"]["none"], HOSTILE: plan["arms"]["cutmix"]}
    plan["dimensions"]["network"] = networks
    plan["images"] |= {"dataset": HOSTILE, "selection": HOSTILE}
    plan |= {"written": HOSTILE, "measure": HOSTILE, "commit": HOSTILE, "versions": {"keras": HOSTILE}}
    records = fakes.make_records(plan, {"none": 0.0, HOSTILE: 0.03})
    for name, record in records.items():
        record["commit"] = HOSTILE
        if name.endswith("seed0"):
            record |= {"diverged": 2, "correct": None}
    return plan, records


def test_the_page_of_a_study(tmp_path):
    plan, records = theirs(["wideresnet-10-1", HOSTILE])
    report.save(tmp_path, plan, records)
    page = (tmp_path / "report.md").read_text()
    rendered = render(page)
    assert rendered.text.count(SHOWN) >= 12
    assert set(rendered.tags) <= TAGS
    assert rendered.tags.count("img") == page.count("\n![") == 3
    html = (tmp_path / "report.html").read_text()
    assert "<script" not in html and html.count("src=") == html.count('src="data:image/png;base64,') == 3


def test_a_report_that_is_written_again(tmp_path, capsys):
    plan, records = theirs(["wideresnet-10-1"])
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    (tmp_path / "records").mkdir()
    for name, record in records.items():
        (tmp_path / "records" / f"{name}.json").write_text(json.dumps(record))
    assert cli.main(["study", "--report", str(tmp_path)]) == 0
    assert "\x1b" not in (printed := capsys.readouterr().out) and SHOWN.split("`")[0] in printed


@pytest.mark.parametrize("name", [".lock", "records", "trainings/none-seed0", "trainings/none-seed0/states"])
def test_links_in_the_folder_of_a_study_are_refused(tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    place = tmp_path / "study" / name
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "elsewhere")
    match = f"`output` must not hold links, .* Received: {place}$"
    with pytest.raises(InputError, match=match), studies._locked(tmp_path / "study"):
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_links_in_the_folder_of_a_training_are_refused(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(InputError, match="must not hold links"), training.claim(tmp_path / "run", None, None):
        pass
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_named(tmp_path, name="file/below"):
    (tmp_path / "file").write_text("")
    match = "`output` .* cannot be written to: (NotADirectoryError|OSError)"
    with pytest.raises(InputError, match=match), training.claim(tmp_path / name, None, None):
        pass
    with pytest.raises(InputError, match=match), studies._locked(tmp_path / name):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
