"""From pixels to what a model expects."""

import numpy as np
import pytest

from keras_mma.robustness import InputError, Preprocess


def test_the_formula(rng):
    pixels = rng.integers(0, 256, (2, 3, 4, 3), dtype="uint8")
    found = Preprocess.parse(["scale=1/255", "mean=0.5,0.4,0.3", "std=0.2,0.25,0.5"]).apply(pixels)
    for index in np.ndindex(pixels.shape):
        mean, std = (0.5, 0.4, 0.3)[index[-1]], (0.2, 0.25, 0.5)[index[-1]]
        assert found[index] == pytest.approx((pixels[index] / 255 - mean) / std, abs=1e-6)
    assert found.dtype == "float32"


def test_reversed_channels_come_before_the_means(rng):
    pixels = rng.integers(0, 256, (2, 3, 4, 3), dtype="uint8")
    found = Preprocess.parse(["order=bgr", "mean=1,2,3"]).apply(pixels)
    assert found == pytest.approx(pixels[..., ::-1] - np.array([1.0, 2.0, 3.0]))


def test_gradients_are_pulled_back_as_the_map_says(rng):
    preprocess = Preprocess.parse(["scale=1/255", "mean=0.5", "std=0.2,0.25,0.5", "order=bgr"])
    pixels, weights = rng.uniform(0, 255, (1, 2, 2, 3)), rng.normal(0, 1, (1, 2, 2, 3))
    found = preprocess.pull_back(weights)
    for index in np.ndindex(pixels.shape):
        step = np.zeros(pixels.shape)
        step[index] = 10
        slope = ((preprocess.apply(pixels + step) - preprocess.apply(pixels - step)) * weights).sum() / 20
        assert found[index] == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_nothing_is_changed_by_default(rng):
    pixels = rng.integers(0, 256, (1, 2, 2, 3), dtype="uint8")
    assert (Preprocess().apply(pixels) == pixels).all() and "0 to 255 as they are" in str(Preprocess())


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["scale"], "numbers such as"),
        (["range=1"], "must be words like"),
        (["scale=1", "scale=2"], "each once"),
        (["scale=1/0"], "numbers such as"),
        (["mean=a"], "numbers such as"),
        (["scale=1,2"], "scale must be one number"),
        (["std=0"], "must not be 0"),
        (["order=gbr"], "order must be rgb or bgr"),
    ],
)
def test_other_words_are_refused(words, match):
    with pytest.raises(InputError, match=match):
        Preprocess.parse(words)


def test_numbers_must_fit_the_channels():
    with pytest.raises(InputError, match="std must be 1 or 3 numbers. Received: 2"):
        Preprocess.parse(["std=1,2"]).check(3)


@pytest.mark.parametrize("word", ["1/255", "1/127.5", "0.5", "2", "-1", "0.0039", "1/3", "0.00392156"])
def test_the_text_of_a_scale_gives_it_back(word):
    preprocess = Preprocess.parse([f"scale={word}", "mean=1"])
    text = str(preprocess).split()
    assert Preprocess.parse(text).scale == preprocess.scale
    if "/" in word:
        assert text[0] == f"scale={word}"
