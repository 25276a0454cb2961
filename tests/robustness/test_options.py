"""One definition of the options, for Python and for the command line."""

import dataclasses
import inspect
import json

import numpy as np
import pytest

from keras_mma.robustness import InputError, Options, Preprocess


def test_numbers_of_numpy_are_recorded():
    plain = Options(preprocess=Preprocess(1 / 255, (0.5, 0.25, 0.5), (2.0,)))
    options = Options(preprocess=Preprocess(np.float64(1 / 255), np.array([0.5, 0.25, 0.5]), np.float32(2)))
    assert options == plain and json.dumps(options.recorded()) == json.dumps(plain.recorded())


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"only": ["clean", "noise"]}, r"`only` must name some of clean, .* Received: only=\['clean', 'noise'\]"),
        ({"only": []}, "`only` must name some of"),
        ({"only": "clean"}, "`only` must name some of"),
        ({"limit": 0}, "`limit` must be a positive integer. Received: limit=0"),
        ({"batch_size": 0}, "`batch_size` must be a positive integer"),
        ({"batch_size": None}, "`batch_size` must be a positive integer"),
        ({"restarts": 1.5}, "`restarts` must be a positive integer"),
        ({"restarts": True}, "`restarts` must be a positive integer"),
        ({"image_size": -8}, "`image_size` must be a positive integer. Received: image_size=-8"),
        ({"resize": "area"}, "`resize` needs `image_size`. Received: resize='area', image_size=None"),
        ({"epsilons": []}, "`epsilons` must be levels between 0 and 255"),
        ({"epsilons": [4, 0]}, r"`epsilons` must be levels between 0 and 255. Received: epsilons=\[4, 0\]"),
        ({"steps": 0}, "`steps` must be a positive integer"),
        ({"seed": -1}, "`seed` must be a non-negative integer"),
        (
            {"only": ["clean"], "epsilons": [3]},
            r"`epsilons` applies to the section attack: add it to `only`. Received: epsilons=\(3,\), only=\['clean'\]",
        ),
        ({"only": ["corruption"], "steps": 9}, "`steps` applies to the section attack"),
        ({"only": ["corruption"], "restarts": 3}, "`restarts` applies to the section attack"),
        ({"only": ["attack"], "corruptions": "/nowhere"}, "`corruptions` applies to the section corruption"),
        ({"only": ["attack"], "extra_corruptions": True}, "`extra_corruptions` applies to the section corruption"),
        ({"only": ["attack"], "frost_textures": "/nowhere"}, "`frost_textures` applies to the section corruption"),
        ({"only": ["attack"], "baseline": "other"}, "`baseline` applies to the section corruption"),
        ({"only": ["attack"], "detector": "spectral_residual"}, "`detector` applies to the section occlusion"),
        (
            {"corruptions": "tfds", "frost_textures": "/nowhere"},
            "`frost_textures` applies to regenerated corruptions only. Received: .*'/nowhere', corruptions='tfds'",
        ),
        ({"outputs": "scores"}, "`outputs` must be logits or probabilities. Received: outputs='scores'"),
    ],
)
def test_values_out_of_range_are_refused(values, match):
    with pytest.raises(InputError, match=match):
        Options(**values)


def test_defaults_may_be_named_though_their_section_is_not_measured():
    """The command line passes all of them."""
    defaults = {field.name: field.default for field in dataclasses.fields(Options)}
    assert Options(**defaults | {"only": ["clean"]}) == Options(only=["clean"])


def test_the_sections_are_in_the_order_of_the_report_and_clean_is_always_there():
    assert [section.name for section in Options(only=["attack", "corruption"]).sections] == [
        "clean",
        "corruption",
        "attack",
    ]
    assert len(Options().sections) == 5


def test_options_are_recorded_as_plain_values():
    recorded = Options(only=["clean"], output="here", preprocess=("scale=2",), limit=3).recorded()
    assert recorded["limit"] == 3 and recorded["preprocess"] == ["scale=2"] and recorded["batch_size"] == 128
    assert not set(recorded) & {"only", "output", "progress"}


def test_the_docstring_describes_every_option():
    text = inspect.getdoc(Options)
    for field in dataclasses.fields(Options):
        assert f"\n    {field.name}: {field.metadata['help']}\n" in text


def test_levels_may_be_an_array_and_a_detector_has_a_name():
    assert Options(epsilons=np.array([4.0, 8.0])).epsilons == (4.0, 8.0) and Options(epsilons=8).epsilons == (8,)
    for epsilons in ([], [0], ["x"], "8"):
        with pytest.raises(InputError, match="`epsilons` must be levels between 0 and 255"):
            Options(epsilons=epsilons)
    with pytest.raises(InputError, match="`detector` must be the name of a detector"):
        Options(detector=lambda images: images)
