"""The plan of a study: written first, compared later, extended openly."""

import json

import pytest

from keras_mma.errors import InputError
from keras_mma.study import provenance, settling, study_cells, study_plan
from tests.study import fakes


def test_a_new_study_writes_its_plan_and_an_old_one_keeps_it(tmp_path):
    made = fakes.make_plan()
    assert settling.settle(tmp_path / "a", made, None) == made == study_plan.read(tmp_path / "a")
    assert made["seeds"] == 5 and list(study_plan.seeds_of(made)) == [0, 1, 2, 3, 4]
    assert (
        made["baseline"] == "none"
        and made["margin"] == 0.5
        and list(made["arms"])
        == [
            "none",
            "cutmix",
            "saliencymix+mma",
        ]
    )
    assert made["measure"] == "accuracy on the test part after the last epoch, in %" and made["versions"]["keras"]
    later = {**fakes.make_plan(), "written": "later", "commit": "other"}
    assert settling.settle(tmp_path / "a", later, None)["written"] == made["written"]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"margin": 1.0}, "margin 0.5"),
        ({"methods": ("none", "cutmix")}, "arms none, cutmix, saliencymix\\+mma"),
        ({"methods": ("none", "cutmix(alpha=2)", "saliencymix+mma")}, "arms none, cutmix, saliencymix\\+mma"),
        ({"methods": ("none", "cutmix=mixup", "saliencymix+mma")}, "arms cutmix={'method': 'cutmix'"),
        ({"baseline": "cutmix"}, "baseline 'none'"),
        ({"first_seed": 3}, "first_seed 0"),
        ({"recipe": fakes.RECIPE | {"batch_size": 32}}, "recipe batch_size=64"),
        ({"dimensions": fakes.DIMENSIONS | {"epochs": [9]}}, r"dimensions epochs=\[3\]"),
        ({"images": fakes.IMAGES | {"sha256": "cd"}}, "images sha256='ab'"),
        ({"part": "validation"}, "part 'test'"),
        ({"tuning": {"learning_rate": [0.1], "weight_decay": [0.0], "seeds": 1}}, "tuning None"),
    ],
)
def test_the_folder_of_another_study_is_refused(tmp_path, changes, match):
    settling.settle(tmp_path, fakes.make_plan(), None)
    before = (tmp_path / "plan.json").read_text()
    with pytest.raises(InputError, match=f"`output` .* holds another study, with {match}.*choose another folder"):
        settling.settle(tmp_path, fakes.make_plan(**changes), lambda _: 0)
    assert (tmp_path / "plan.json").read_text() == before


def test_folders_that_hold_anything_else_are_refused(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(InputError, match="must be empty or hold a study. Received: x"):
        settling.settle(tmp_path, fakes.make_plan(), None)
    with pytest.raises(InputError, match="must be a folder. Received: the file"):
        settling.settle(tmp_path / "x", fakes.make_plan(), None)
    with pytest.raises(InputError, match="must be the folder of a study. Received: a folder without plan.json"):
        study_plan.read(tmp_path)
    for text, match in (("{", "cannot be read"), ("[]", "must hold a JSON object"), ("{}", "of this version")):
        (tmp_path / "plan.json").write_text(text)
        with pytest.raises(InputError, match=match):
            study_plan.read(tmp_path)
    (tmp_path / "plan.json").write_text(json.dumps({"schema": study_plan.SCHEMA}))
    with pytest.raises(InputError, match="is damaged: lacks written"):
        study_plan.read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"arms": []}, "arms must be an object"),
        ({"arms": {"none": 3}}, "arms.none must be an object"),
        ({"seeds": "5"}, "seeds is '5'"),
        ({"seeds": 10**9}, "seeds is 1000000000"),
        ({"dimensions": {}}, "dimensions lacks fraction"),
        ({"recipe": None}, "recipe must be an object"),
        ({"images": {"n": "x"}}, "images lacks dataset"),
        ({"baseline": "other"}, "baseline is 'other'"),
        ({"looks": 3}, "looks must be a list"),
        ({"tuning": {"learning_rate": 3}}, "tuning lacks weight_decay"),
        ({"tuning": {}}, "tuning lacks learning_rate"),
        ({"arms": {"none": {"method": "none", "mixer_arguments": {}, "adapt_arguments": {}}}}, "arms has 1 entries"),
        ({"arms": {"none": fakes.make_plan()["arms"]["none"] | {"foo": 1}}}, "arms has the unknown foo"),
        ({"arms": {"x?": 3}}, r"arms.x\? must be an object"),
        ({"looks": [99, 3]}, r"looks is \[99, 3\]"),
        ({"margin": 10**400}, "margin is 1000"),
        ({"images": fakes.IMAGES | {"other": float("inf")}}, "Infinity is not JSON"),
        ({"tuning": []}, r"tuning is \[\]"),
        ({"part": ["test"]}, r"part is \['test'\]"),
    ],
)
def test_a_plan_of_another_form_is_refused(tmp_path, changes, match):
    (tmp_path / "plan.json").write_text(json.dumps(fakes.make_plan() | changes))
    with pytest.raises(InputError, match=f"plan.json (is damaged|cannot be read): .*{match}"):
        study_plan.read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"seeds": 1}, "`seeds` must be 2 to 10,000: the spread of the results, and so an interval, needs two"),
        ({"seeds": 10_001}, "`seeds` must be 2 to 10,000.* Received: seeds=10001"),
        ({"seeds": 5.0}, "`seeds` must be an integer. Received: seeds=5.0"),
        ({"first_seed": True}, "`first_seed` must be an integer"),
        ({"first_seed": -1}, "`first_seed` must be 0 to 2,000,000,000. Received: first_seed=-1"),
        ({"first_seed": 2**32 - 1}, "Received: first_seed=4294967295"),
        ({"margin": 0}, "`margin` must be a number of points"),
        ({"part": "train"}, "`part` must be one of test, validation"),
        ({"dimensions": fakes.DIMENSIONS | {"fraction": [1.0, 1.0]}}, "`fraction` must not have the same value twice"),
    ],
)
def test_plans_that_are_refused(changes, match):
    with pytest.raises(InputError, match=match):
        fakes.make_plan(**changes)


def test_seeds_added_after_a_look_are_recorded(tmp_path):
    settling.settle(tmp_path, fakes.make_plan(seeds=5), None)
    extended = settling.settle(tmp_path, fakes.make_plan(seeds=8), lambda old: old["seeds"])
    assert extended["seeds"] == 8 and extended["looks"] == [5] and study_plan.read(tmp_path) == extended
    (extension,) = extended["extensions"]
    assert (extension["from"], extension["to"], extension["looked_at"]) == (5, 8, 5)
    again = settling.settle(tmp_path, fakes.make_plan(seeds=10), lambda _: 7)
    assert again["looks"] == [5, 7] and len(again["extensions"]) == 2
    with pytest.raises(InputError, match="`seeds` must not be less than the 10 of the plan"):
        settling.settle(tmp_path, fakes.make_plan(seeds=9), None)
    # The same command resumes.
    assert settling.settle(tmp_path, fakes.make_plan(seeds=10), None) == again


def test_seeds_added_before_there_is_anything_to_compare_are_no_look(tmp_path):
    settling.settle(tmp_path, fakes.make_plan(seeds=3), None)
    assert settling.settle(tmp_path, fakes.make_plan(seeds=4), lambda _: 1)["looks"] == []


def test_the_cells_of_a_plan():
    dimensions = fakes.DIMENSIONS | {"fraction": [0.1, 1.0], "image_size": [8, None]}
    made = fakes.make_plan(("none", "x=cutmix+mma(temperature=1,sites=0-1,site_weights=2-1)"), 2, dimensions=dimensions)
    todo = study_cells.of_plan(made)
    assert len(todo) == 2 * 2 * 2 * 2 and len({cell.name for cell in todo}) == len(todo)
    assert [cell.name for cell in todo[:4]] == [
        "none-0.1-8-seed0",
        "x-0.1-8-seed0",
        "none-0.1-8-seed1",
        "x-0.1-8-seed1",
    ]
    assert todo[1].recipe == {
        **fakes.RECIPE,
        "method": "cutmix+mma",
        "mixer_arguments": {"sites": [0, 1], "site_weights": [2, 1]},
        "adapt_arguments": {"temperature": 1},
        "fraction": 0.1,
        "network": "wideresnet-10-1",
        "image_size": 8,
        "epochs": 3,
        "seed": 0,
    }
    assert study_plan.title_of(made, todo[0].setting) == "10 % of the training images, 8 pixels"
    tuned = {study_cells.key_of("x", todo[0].setting): {"learning_rate": 0.3}}
    rates = {cell.name: cell.recipe["learning_rate"] for cell in study_cells.of_plan(made, tuned)}
    assert {name for name, rate in rates.items() if rate == 0.3} == {"x-0.1-8-seed0", "x-0.1-8-seed1"}


@pytest.mark.parametrize(
    ("is_done", "expected"),
    [
        (lambda cell: False, 0),
        (lambda cell: cell.seed < 2, 2),
        (lambda cell: cell.setting["epochs"] == 3, 4),  # all of one setting, nothing of the other
        (lambda cell: cell.method != "x", 4),  # one method fails
        (lambda cell: cell.method != "none", 0),  # no baseline, no difference
        (lambda cell: cell.seed == (cell.method == "none"), 0),  # no pair
        (lambda cell: cell.seed % 3 == 0 or cell.method == "cutmix", 2),
    ],
)
def test_for_how_many_seeds_results_can_be_compared(is_done, expected):
    dimensions = fakes.DIMENSIONS | {"epochs": [3, 5]}
    made = fakes.make_plan(("cutmix", "none", "x=mixup"), 4, dimensions=dimensions)
    records = {cell.name: None for cell in study_cells.of_plan(made) if is_done(cell)}
    assert study_cells.compared_seeds(made, records) == expected


def test_names_of_arms_become_names_of_files():
    made = fakes.make_plan(("none", "x/y=cutmix", "x:y=mixup", "cutmix(alpha=0.5)"), 2)
    names = [cell.name for cell in study_cells.of_plan(made) if cell.seed == 0]
    assert names[0] == "none-seed0" and len(set(names)) == 4
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.+-") for name in names)


def test_which_code_made_a_record(tmp_path, monkeypatch):
    commit = provenance.commit()
    assert len(commit.removesuffix("+changes")) == 40
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "keras_mma" / "study" / "provenance.py"))
    assert provenance.commit() == commit  # a process keeps the code that it has loaded
    assert provenance.commit.__wrapped__() is None


def test_what_is_measured_of_the_models_is_written_down_with_its_time():
    made = fakes.make_plan()
    assert made["evaluations"] == []
    asked = study_plan.with_evaluation(made, ("clean", "attack"), 100, 0)
    (first,) = asked["evaluations"]
    assert (first["sections"], first["limit"], first["trained"]) == (["attack", "clean"], 100, 0)
    assert study_plan.with_evaluation(asked, ["attack", "clean"], 100, 7) is asked
    changed = study_plan.with_evaluation(asked, ["clean"], 100, 7)
    assert [each["trained"] for each in changed["evaluations"]] == [0, 7] and changed["evaluations"][0] == first
    # The first choice again is no new one.
    again = study_plan.with_evaluation(changed, ("clean", "attack"), 100, 9)
    assert [each["trained"] for each in again["evaluations"]] == [0, 7, 0]
    old = {name: value for name, value in made.items() if name != "evaluations"}
    assert [each["trained"] for each in study_plan.with_evaluation(old, ["clean"], None, 2)["evaluations"]] == [None]


def test_a_folder_of_images_that_was_moved_is_named_as_before(tmp_path):
    def at(path, digest="a"):
        plan = fakes.make_plan()
        dataset = {"dataset": f"folder:{path}"}
        return plan | {
            "recipe": plan["recipe"] | dataset,
            "images": plan["images"] | dataset | {"sha256": digest},
        }

    settling.settle(tmp_path, at("pictures"), None)
    with pytest.raises(InputError, match="the images are the same: name them as before, folder:pictures, or"):
        settling.settle(tmp_path, at("/moved/pictures"), lambda _: 0)
    with pytest.raises(InputError, match="choose another folder"):
        settling.settle(tmp_path, at("/moved/pictures", "b"), lambda _: 0)
