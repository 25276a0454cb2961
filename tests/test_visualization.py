"""Figures of mixed batches and of training histories."""

import numpy as np
import pytest

from keras_mma import layers, visualization
from tests.pictures import blobs

pytest.importorskip("matplotlib")


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


def test_a_history_is_plotted(tmp_path):
    history = {"epoch": [0, 1], "loss": [2.0, 1.0], "val_loss": [2.5, 1.5], "accuracy": [0.1, 0.5]}
    figure = visualization.show_history(history, tmp_path / "history.png")
    assert [axis.get_title() for axis in figure.axes] == ["loss", "accuracy"]
    assert [len(axis.lines) for axis in figure.axes] == [2, 1]
    assert (tmp_path / "history.png").exists()
