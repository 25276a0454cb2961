"""Arms: what a line of text means, and what is refused."""

import doctest
import json

import pytest

from keras_mma.errors import InputError
from keras_mma.study import arms
from keras_mma.study.arms import Arm


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", Arm("none", "none")),
        ("cutmix+mma", Arm("cutmix+mma", "cutmix+mma")),
        ("mixup( alpha = 0.2 )", Arm("mixup(alpha=0.2)", "mixup", {"alpha": 0.2})),
        ("m=mixup(alpha=2)", Arm("m", "mixup", {"alpha": 2})),
        ("cutmix(probability=1)+mma()", Arm("cutmix(probability=1)+mma()", "cutmix+mma", {"probability": 1})),
        (
            "published=saliencymix(detector=fine_grained_misread, border=clip, box=batch, ties=first)",
            Arm(
                "published",
                "saliencymix",
                {"detector": "fine_grained_misread", "border": "clip", "box": "batch", "ties": "first"},
            ),
        ),
        (
            "x=saliencymix(detector=spectral_residual,detector_size=(8,8))+mma(temperature=1,preserve_ratio=True,"
            "combine=add,sites=0-1-2)",
            Arm(
                "x",
                "saliencymix+mma",
                {"detector": "spectral_residual", "detector_size": (8, 8), "sites": (0, 1, 2)},
                {"temperature": 1, "preserve_ratio": True, "combine": "add"},
            ),
        ),
        (
            "x=cutmix+naive(at=stem-stage1,sites=0-1-2,site_weights=2-1-1,label=mixer)",
            Arm(
                "x",
                "cutmix+mma",
                {"sites": (0, 1, 2), "site_weights": (2, 1, 1)},
                {"attention": None, "smooth": False, "resize": "nearest", "label": "mixer"},
                ("stem", "stage1"),
            ),
        ),
        (
            "x=cutmix+mma(sites=0-1,site_weights=3-0.5)",
            Arm("x", "cutmix+mma", {"sites": (0, 1), "site_weights": (3, 0.5)}),
        ),
        ("x=cutmix+mma(at=stage2)", Arm("x", "cutmix+mma", mixing_points=("stage2",))),
        (
            "x=mixup+mma(temperature=-1e-3,preserve_ratio=false,attention=None)",
            Arm("x", "mixup+mma", {}, {"temperature": -1e-3, "preserve_ratio": False, "attention": None}),
        ),
    ],
)
def test_what_a_text_means(text, expected):
    assert arms.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "=cutmix",
        "cutmix(",
        "cutmix(1)",
        "cutmix(**x)",
        "cutmix(alpha=f(1))",
        "cutmix(alpha=__import__('os').getcwd())",
        "cutmix(alpha=x.y)",
        "cutmix(alpha=[i for i in x])",
        "cutmix+mma+mma",
        "cutmix+cutmix",
        "cutmix+naive(temperature=2)",
        "cutmix+naive(attention=activation, temperature=2)",
        "cutmix+naive(smooth=True, combine=multiply)",
        "cutmix+mma(attention=None, attention_spread=2)",
        "cutmix+mma(smooth=False, temperature=2)",
        "cutmix-mma",
        "a.b(c=1)",
        "lambda: 0",
        "'cutmix'",
        "x=" + "-" * 100_000 + "1",
        "cutmix(alpha=...)",
        "cutmix(alpha={1,2})",
        "cutmix(alpha=b'x')",
        "cutmix(alpha=1j)",
    ],
)
def test_what_spells_no_arm(text):
    with pytest.raises(InputError, match="Received") as caught:
        arms.parse(text)
    assert "\n" not in str(caught.value)


def test_the_settings_of_a_recipe():
    assert arms.parse("none").settings() == {"method": "none", "mixer_arguments": {}, "adapt_arguments": {}}
    assert arms.parse("x=cutmix+mma(at=stage2)").settings()["mixing_points"] == ("stage2",)


def test_arms_of_a_file(tmp_path):
    table = {"plain": "none", "soft": "saliencymix + mma(temperature=1)"}
    toml, other = tmp_path / "arms.toml", tmp_path / "arms.json"
    toml.write_text("\n".join(f'{name} = "{text}"' for name, text in table.items()))
    other.write_text(json.dumps(table))
    expected = [Arm("plain", "none"), Arm("soft", "saliencymix+mma", {}, {"temperature": 1})]
    assert arms.read_file(toml) == arms.read_file(other) == expected


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.txt", "", "must be a .toml or a .json file"),
        ("a.toml", None, "cannot be read"),
        ("a.toml", "x =", "cannot be read"),
        ("a.json", "[]", "must be a table"),
        ("a.json", '{"x": 1}', "must be a table"),
        ("a.json", '{"x": "cutmix("}', "must be written"),
        ("a.json", '{" ": "cutmix"}', "names of visible characters in one line. Received: ' '"),
        ("a.toml", '"x\\ny" = "cutmix"', r"names of visible characters in one line. Received: 'x\\ny'"),
        ("a.json", '{"x\\u001b[2J": "cutmix"}', "names of visible characters in one line"),
    ],
)
def test_files_that_are_refused(tmp_path, name, content, match):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=match):
        arms.read_file(tmp_path / name)


@pytest.mark.parametrize(
    ("texts", "baseline", "match"),
    [
        (["none", "cutmx"], "none", "unknown method cutmx; did you mean cutmix?"),
        (["none", "x=zzz"], "none", "unknown method zzz; known methods are none, cutmix, cutmix.mma. Received: x"),
        (["none", "cutmix", "cutmix"], "none", "different names, also in lower case. Received: cutmix more than once"),
        (
            ["none", "A=cutmix", "a=cutmix+mma"],
            "none",
            "different names, also in lower case. Received: A more than once",
        ),
        (["none"], "none", "at least two"),
        (["none", "cutmix(seed=5)"], "none", r"must not set seed, which the study sets. Received: cutmix\(seed=5\)"),
        (["none", "x=cutmix+mma(dtype=float16)"], "none", "must not set dtype"),
        (["none", "cutmix"], "mixup", "`baseline` must be one of none, cutmix"),
    ],
)
def test_what_cannot_be_compared(texts, baseline, match):
    with pytest.raises(InputError, match=match):
        arms.check([arms.parse(text) for text in texts], baseline, ["none", "cutmix", "cutmix+mma"])


def test_the_example_of_the_docstring():
    assert doctest.testmod(arms).attempted == 3 and doctest.testmod(arms).failed == 0
