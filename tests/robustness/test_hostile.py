"""Texts, links and models of others: names are shown as they are, nothing outside of the output folder is touched."""

import copy
import json
import os
import re

import pytest
from matplotlib.figure import Figure

from keras_mma import cli, markdown, terminal
from keras_mma.files import LOCK
from keras_mma.robustness import InputError, compare, comparison, comparison_plots
from keras_mma.robustness.output import MARKER, OutputFolder
from keras_mma.robustness.report import save
from tests.robustness import reports
from tests.test_markdown import render

#: A name that ends a cell, opens a tag, a link and mathematics, clears the screen and cannot be encoded.
HOSTILE = "a|b <script>alert(1)</script> ![x](http://x/y.png) `t` $\\frac \x1b[2J\x07\x9b1m \u202egnp\udcff"
SHOWN = terminal.printable(HOSTILE)
#: Tags of the pages that the package writes.
TAGS = set(re.findall(r"\w+", "h1 h2 h3 p table thead tbody tr th td code pre strong em ul li img blockquote"))


def hostile_report(error=0.25):
    """A report in which every text that others choose is hostile."""
    report = copy.deepcopy(reports.report(error))
    report["model"]["path"] = report["dataset"]["name"] = HOSTILE
    report["dataset"] |= {"class_names": [HOSTILE] * 3, "skipped": [HOSTILE], "selection": HOSTILE}
    report["warnings"].append(HOSTILE)
    section = report["corruption"]
    section["label"] = HOSTILE
    section["group_mean_errors"][HOSTILE] = section["group_mean_errors"].pop("noise")
    for result in section["results"].values():
        result["group"] = HOSTILE if result["group"] == "noise" else result["group"]
    section["baseline"] = {"report": HOSTILE, "model": HOSTILE, "ce": {}, "relative_ce": {}}
    section["baseline"] |= {"mce": None, "relative_mce": None}
    report["occlusion"]["detector"] = HOSTILE
    section["results"][HOSTILE] = section["results"].pop("fog")
    section["left_out"] = {HOSTILE: HOSTILE}
    return report


def check(page, least):
    """A page in Markdown shows the name `least` times, and has no tag but those that the package writes."""
    rendered = render(page)
    assert rendered.text.count(SHOWN) >= least
    assert set(rendered.tags) <= TAGS
    assert rendered.tags.count("img") == page.count("\n![")
    page.encode()


def test_control_characters_are_spelled_out():
    assert terminal.printable("a\x1b[2J\x00\x7f\x9b\u202e\u2066\udcff é 鳥") == (
        "a\\x1b[2J\\x00\\x7f\\x9b\\u202e\\u2066\\udcff é 鳥"
    )
    assert SHOWN.isprintable()


def test_lines_on_a_terminal(capsys):
    terminal.show(f"one\n{HOSTILE}")
    terminal.show("three\r\x1b[A", error=True)
    printed = capsys.readouterr()
    assert printed.out == f"one\n{SHOWN}\n" and printed.err == "three\\r\\x1b[A\n"


def test_the_page_of_a_report(tmp_path):
    with OutputFolder(tmp_path / "r", "report") as folder:
        save(hostile_report(), folder)
    check((tmp_path / "r" / "report.md").read_text(), 12)
    page = (tmp_path / "r" / "report.html").read_text()
    assert "<script" not in page and page.count("src=") == page.count('src="data:image/png;base64,')
    assert "\x1b" not in page and markdown.html.escape(SHOWN.split(" ![")[0]) in page


@pytest.mark.parametrize("by_method", [False, True])
def test_the_page_of_a_comparison(tmp_path, capsys, by_method):
    places = []
    for name, error in (("a", 0.25), (f"b {HOSTILE[:20]}", 0.3)):
        places.append(tmp_path / name.replace("/", "") / "report.json")
        places[-1].parent.mkdir()
        places[-1].write_text(json.dumps(hostile_report(error)))
    against = {"paths": places[:1], "against": places[1:]} if by_method else {"paths": places}
    check(compare(output=tmp_path / "out", **against), 2)
    words = ["compare", str(places[0]), *["--against"] * by_method, str(places[1])]
    assert cli.main(words) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_the_plots_of_a_comparison():
    figure, names = Figure(layout="constrained"), [HOSTILE, "b"]
    comparison_plots.errors([comparison._errors(hostile_report())] * 2, names, figure)
    figure.draw_without_rendering()
    figure = Figure(layout="constrained")
    comparison_plots.differences(comparison.differences([hostile_report()] * 2), names[:1], figure)
    figure.draw_without_rendering()


def test_an_error_about_a_name_is_printable(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["compare", str(tmp_path / "\x1b]0;title\x07")])
    assert "\x1b" not in (printed := capsys.readouterr().err) and r"\x1b]0;title\x07" in printed


def planted(tmp_path, name):
    """A report folder in which a place is a link to a file, or a folder with a file, of the user."""
    with OutputFolder(tmp_path / "ours", "report") as folder:
        for written in ("report.md", "unfinished/key/part.json"):
            folder.write(written, "ours")
    elsewhere, place = tmp_path / "elsewhere", tmp_path / "ours" / name
    (elsewhere / "key").mkdir(parents=True)
    for file in (elsewhere / "part.json", elsewhere / "key" / "part.json"):
        file.write_text("mine")
    if place.is_dir():
        for file in sorted(place.rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
        place.rmdir()
        place.symlink_to(elsewhere)
    else:
        place.unlink(missing_ok=True)
        place.symlink_to(elsewhere / "part.json")
    return tmp_path / "ours", [elsewhere / "part.json", elsewhere / "key" / "part.json"]


@pytest.mark.parametrize(
    "name", [MARKER, LOCK, "report.md", "unfinished", "unfinished/key", "unfinished/key/part.json"]
)
def test_links_in_the_output_folder_are_refused(tmp_path, name):
    path, files = planted(tmp_path, name)
    match = f"must not hold links, .* Received: {path / name}$"
    with pytest.raises(InputError, match=match), OutputFolder(path, "report"):
        pass
    assert [file.read_text() for file in files] == ["mine"] * 2 and (path / name).is_symlink()


def test_links_that_are_planted_meanwhile_are_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.json").write_text("mine")
    with OutputFolder(tmp_path / "ours", "report") as folder:
        folder.write("unfinished/a.json", "ours")
        folder.claim(["unfinished/b.json"])
        os.rename(folder.path / "unfinished", tmp_path / "moved")
        (folder.path / "unfinished").symlink_to(tmp_path / "elsewhere")
        for act in (
            lambda: folder.write("unfinished/b.json", "ours"),
            lambda: folder.remove(["unfinished/b.json"]),
            lambda: folder.claim(["unfinished/c.json"]),
        ):
            with pytest.raises(InputError, match="must not hold links"):
                act()
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["b.json"]
    assert (tmp_path / "elsewhere" / "b.json").read_text() == "mine"


def test_a_link_to_the_output_folder_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    with OutputFolder(tmp_path / "link", "report") as folder:
        folder.write("a.txt", "ours")
    assert (tmp_path / "disk" / "a.txt").read_text() == "ours"


@pytest.mark.parametrize("name", ["../mine.txt", "unfinished/../../mine.txt", "/absolute"])
def test_a_folder_that_claims_files_outside_of_it_is_refused(tmp_path, name):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "theirs").mkdir()
    name = name.replace("/absolute", str(tmp_path / "mine.txt"))
    (tmp_path / "theirs" / MARKER).write_text(json.dumps({"content": "report", "files": [name]}))
    match = "has a damaged .*is outside of the folder"
    with pytest.raises(InputError, match=match), OutputFolder(tmp_path / "theirs", "report") as folder:
        folder.remove(folder.written())
    assert (tmp_path / "mine.txt").read_text() == "mine"
