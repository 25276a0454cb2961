"""Figures of mixed batches and of training histories."""

import re
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma import layers, plotting, visualization
from keras_mma.errors import InputError
from keras_mma.resampling import resize
from keras_mma.visualization import grid
from tests.pictures import blobs

pytest.importorskip("matplotlib")

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("mixer", [layers.SaliencyMix, layers.CutMix, layers.MixUp])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_mixed_batch_is_plotted(rng, tmp_path, mixer, channels):
    images = blobs(rng, 5, channels=channels)
    features = {"stage1": rng.normal(size=(5, 8, 10, 4)).astype("float32")}
    path = tmp_path / "new" / "mixing.png"
    figure = visualization.show_mixing(mixer(probability=0.0, seed=1), images, samples=3, features=features, path=path)
    assert path.read_bytes().startswith(b"\x89PNG")
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == [
        "own image",
        "partner",
        "partner's saliency",
        "mask (white: own)",
        "mixed",
        "MMA at stage1",
    ]
    assert len(figure.axes) == 18
    shown = np.asarray(figure.axes[0].images[0].get_array())
    expected = images[0, ..., 0] if channels == 1 else images[0]
    np.testing.assert_allclose(shown, expected / 255, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_label_of_a_mixed_image_is_written_below_it(rng, channels):
    images = blobs(rng, 4, channels=channels)
    figure = visualization.plot_mixing(layers.CutMix(seed=1), images, [0, 1, 2, 0], ["cat", "dog", "owl"], samples=4)
    for sample, axis in enumerate(figure.axes[4::5][:4]):
        words = dict((word + " 1").split()[:2] for word in axis.get_xlabel().split(", "))
        own = {0: "cat", 1: "dog", 2: "owl"}[[0, 1, 2, 0][sample]]
        assert own in words and sum(map(float, words.values())) == pytest.approx(1, abs=0.011)
        mask = np.asarray(figure.axes[5 * sample + 3].images[0].get_array())
        if len(words) == 2:
            assert float(words[own]) == pytest.approx(mask.mean(), abs=0.006)
    with pytest.raises(ValueError, match="`labels` must be as many as the images, 4. Received: 3"):
        visualization.plot_mixing(layers.CutMix(), images, [0, 1, 2])
    with pytest.raises(ValueError, match=r"`images` must be a batch .* Received: shape \(16, 20, 3\)"):
        visualization.plot_mixing(layers.CutMix(), np.zeros((16, 20, 3)))


def make_model(detector=None, data_format="channels_last"):
    keras.config.set_image_data_format(data_format)
    shape = (16, 20, 3) if data_format == "channels_last" else (3, 16, 20)
    network = keras.Sequential([keras.Input(shape), keras.layers.Rescaling(1 / 255, name="scale")])
    network.add(keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="first"))
    network.add(keras.layers.AveragePooling2D(2, name="pool"))
    network.add(keras.layers.GlobalAveragePooling2D())
    network.add(keras.layers.Dense(3))
    mixer = layers.SaliencyMix(seed=1) if detector is None else layers.SaliencyMix(detector=detector, seed=1)
    return network, keras_mma.mixify(network, mixer, at=["first", "pool"])


def test_adapted_masks_are_those_of_the_layers(rng):
    network, model = make_model()
    images = blobs(rng, 4)
    figure = visualization.plot_adaptation(model, images, samples=2)
    assert len(figure.axes) == 2 * 10
    mask = np.asarray(figure.axes[3].images[0].get_array())
    for site, name, number in ((1, "first", 6), (2, "pool", 9)):
        features = keras.Model(network.inputs[0], network.get_layer(name).output)(images)
        adapted = np.asarray(figure.axes[number].images[0].get_array())
        assert adapted.shape == tuple(features.shape[1:3])
        attention = np.abs(keras.ops.convert_to_numpy(features)).mean(-1)
        shown = np.asarray(figure.axes[number - 2].images[0].get_array())
        standard = (attention[0] - attention[0].mean()) / attention[0].std()
        np.testing.assert_allclose(shown, np.maximum(1 + standard, 0), rtol=1e-3, atol=1e-4)
        if site == 1:  # of the size of the image: own where the mask is 1, the partner's where it is 0
            assert adapted[mask == 1].mean() > adapted[mask == 0].mean()
        assert figure.axes[number].get_xlabel() == f"weight {adapted.mean():.2f}"
    with pytest.raises(ValueError, match="`model` must be a `MixModel`"):
        visualization.plot_adaptation(network, images)
    with pytest.raises(ValueError, match="`model` must mix features, as `FeatureMixAdapt` does"):
        visualization.plot_adaptation(keras_mma.mixify(network, layers.CutMix(), at=[]), images)


def test_a_model_is_plotted_with_the_saliency_of_its_network(rng):
    network, model = make_model(detector="activation")
    images = blobs(rng, 4)
    figure = visualization.plot_mixing(model, images, samples=2)
    assert len(figure.axes) == 10
    features = keras.ops.convert_to_numpy(keras.Model(network.inputs[0], network.get_layer("pool").output)(images))
    energy = keras.ops.convert_to_numpy(resize(np.square(features).mean(-1, keepdims=True), 16, 20, "bilinear"))
    partners = np.stack([np.asarray(figure.axes[5 * sample + 1].images[0].get_array()) for sample in range(2)])
    for sample, partner in enumerate(partners):
        (number,) = [i for i, image in enumerate(images) if np.allclose(image / 255, partner, atol=1e-5)]
        shown = np.asarray(figure.axes[5 * sample + 2].images[0].get_array())
        np.testing.assert_allclose(shown, energy[number, ..., 0], rtol=1e-4)


@pytest.mark.parametrize("values", ["uint8", "unit", "standardized", "gray"])
def test_the_gallery_shows_images_of_any_range_alike(rng, values):
    images = blobs(rng, 3, channels=1 if values == "gray" else 3)
    shown = {
        "unit": images / 255.0,
        "standardized": (images - images.mean()) / images.std(),
    }.get(values, images)
    figure = visualization.plot_gallery({"cutmix": layers.CutMix(seed=2)}, shown, [0, 1, 1])
    assert len(figure.axes) == 6
    picture = np.asarray(figure.axes[0].images[0].get_array())
    expected = images[0, ..., 0] / 255 if values == "gray" else images[0] / 255
    if values == "standardized":  # stretched between the percentiles
        assert np.corrcoef(picture.ravel(), expected.ravel())[0, 1] > 0.99
    else:
        np.testing.assert_allclose(picture, expected, atol=1e-5)
    width, height = figure.get_size_inches()
    assert width > height / 2


@pytest.mark.parametrize(
    ("images", "white"),
    [
        (np.array([0.0, 1.0]), 1.0),
        (np.array([0.0, 1.02]), 1.02),  # overshoot of an interpolation
        (np.array([0.0, 2.0]), 2.0),  # divided by 127.5
        (np.array([0.5, 180.25]), 255.0),
        (np.array([0, 1], "uint8"), 255.0),
        (np.array([0, 65535], "uint16"), 65535.0),
        (np.array([0.0, 4095.0]), 4095.0),
    ],
)
def test_the_value_that_is_white(images, white):
    assert grid.value_range(images) == (0.0, white)


def test_images_are_taken_as_the_mixer_takes_them(rng):
    images = blobs(rng, 4)
    first = images.transpose(0, 3, 1, 2)
    figures = [
        visualization.plot_mixing(layers.CutMix(seed=1, data_format=data_format), batch)
        for data_format, batch in (("channels_last", images), ("channels_first", first))
    ]
    for one, other in zip(*(figure.axes for figure in figures), strict=True):
        np.testing.assert_array_equal(one.images[0].get_array(), other.images[0].get_array())


def test_a_share_of_class_1_is_a_label_of_two_classes(rng):
    images = blobs(rng, 4)
    shares = np.array([0.0, 0.3, 0.6, 1.0], "float32")
    expected = visualization.plot_mixing(layers.CutMix(seed=1), images, np.stack([1 - shares, shares], 1))
    figure = visualization.plot_mixing(layers.CutMix(seed=1), images, shares[:, None])
    words = [[axis.get_xlabel() for axis in each.axes] for each in (figure, expected)]
    assert words[0] == words[1] and any("0: 0." in word for word in words[0])


def test_a_mask_over_channels_is_a_row_of_them(rng):
    network = keras_mma.models.WideResNet(10, 1, input_shape=(16, 20, 3), classes=3)
    mixer = layers.CutMix(border="inside", seed=1)
    model = keras_mma.mixify(network, mixer, at=["stage1"], adapter=layers.CatchUpMix)
    figure = visualization.plot_adaptation(model, blobs(rng, 4), samples=2)
    mask = np.asarray(figure.axes[4].images[0].get_array())
    assert mask.shape == (1, 16) and set(np.unique(mask)) == {0, 1}
    assert figure.axes[4].get_xlabel() == f"weight {mask.mean():.2f}"


def test_the_epochs_and_the_kind_of_a_history(rng):
    history = {"loss": np.arange(11.0), "val_loss": np.array([1.0, 2.0])}
    for mixed, words in ((True, "training (mixed labels)"), (False, "training")):
        for frequency in (4, [4, 8]):
            (axis,) = visualization.plot_history(history, mixed=mixed, validation_freq=frequency).axes
            assert [text.get_text() for text in axis.get_legend().get_texts()] == [words, "validation"]
            assert list(axis.lines[0].get_xdata()) == list(range(1, 12))
            assert list(axis.lines[1].get_xdata()) == [4, 8]


def test_a_history_is_plotted(tmp_path):
    history = {"epoch": [0, 1], "loss": [2.0, 1.0], "val_loss": [2.5, 1.5], "accuracy": [0.1, 0.5]}
    figure = visualization.plot_history(history, tmp_path / "history.png")
    assert [axis.get_title() for axis in figure.axes] == ["loss", "accuracy"]
    assert [len(axis.lines) for axis in figure.axes] == [2, 1]
    assert (tmp_path / "history.png").exists()


def test_every_figure_of_the_package_is_made_and_drawn_in_one_style():
    for path in (ROOT / "keras_mma").rglob("*.py"):
        text = path.read_text()
        if path.name != "plotting.py":
            assert "pyplot" not in text and not re.search(r"\bFigure\(", text), path
            assert "new_figure(" not in text or "plotting.style()" in text, path


@pytest.mark.parametrize("labels", [[0, 1, 2], np.eye(3)])
def test_too_few_class_names_are_refused(rng, labels):
    with pytest.raises(ValueError, match="`class_names` must have the names of 3 classes. Received: 1 names"):
        visualization.plot_mixing(layers.CutMix(), blobs(rng, 3), labels, ["cat"])


def test_a_column_of_class_indices_takes_more_names_than_it_has_classes(rng):
    for names in (None, ["cat", "dog", "bird"]):
        figures = [
            visualization.plot_mixing(layers.CutMix(seed=3), blobs(rng, 3), labels, names)
            for labels in ([[0], [1], [1]], [0, 1, 1])
        ]
        column, vector = ([axis.get_xlabel() for axis in figure.axes[4::5][:3]] for figure in figures)
        assert column == vector and all(column)
        own = [caption.split()[0].strip(":") for caption in column]
        assert set(own) <= ({"0", "1"} if names is None else {"cat", "dog"})


def test_class_indices_of_one_class_are_written(rng):
    figure = visualization.plot_gallery({"mixup": layers.MixUp(seed=1)}, blobs(rng, 2), [0, 0])
    assert [axis.get_xlabel() for axis in figure.axes] == ["0"] * 4


def test_long_class_names_are_cut():
    names = ["cat", "a very long class name indeed"]
    assert grid.in_words(np.array([0.86, 0.14]), names) == "cat 0.86, a very lon… 0.14"
    assert grid.in_words(np.array([0.0, 1.0]), names) == "a very long class name indeed"


@pytest.mark.parametrize(
    ("kind", "is_heat", "limits"),
    [("mask", False, [1.0, 1.0]), ("saliency", True, [2.0, 4.0]), ("attention", True, [4.0, 4.0])],
)
def test_the_colors_of_maps(rng, kind, is_heat, limits):
    maps = np.stack([np.full((4, 5, 1), 2.0), np.full((4, 5, 1), 4.0)])
    figure = grid.draw_grid([grid.Column("own image", blobs(rng, 2)), grid.Column("saliency", maps, kind)], 2, None)
    drawn = [axis.images[0] for axis in figure.axes[1::2]]
    assert [image.get_cmap().name for image in drawn] == ["magma" if is_heat else "gray"] * 2
    assert [image.norm.vmax for image in drawn] == limits


def test_what_cannot_be_plotted_is_named_with_the_remedy(rng):
    with pytest.raises(ValueError, match=r"`mixer` must be a `Mixer`, such as `MixUp\(\)`, or a `MixModel`, such as"):
        visualization.plot_mixing(layers.MixUp, blobs(rng, 3))


def test_missing_matplotlib_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"plots need matplotlib: pip install 'keras-mma\[viz\]'"):
        plotting.require()
