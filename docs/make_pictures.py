"""Make the pictures of the documentation from scikit-learn's bundled photographs: `python docs/make_pictures.py`."""

from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_sample_images

from keras_mma import layers, visualization

IMAGES = Path(__file__).parent / "images"


def photographs(count=4, size=160):
    """Crops of two photographs."""
    rng = np.random.default_rng(5)
    crops = []
    for number in range(count):
        picture = load_sample_images().images[number % 2]
        y, x = (rng.integers(0, extent - 2 * size) for extent in picture.shape[:2])
        crops.append(picture[y : y + 2 * size : 2, x : x + 2 * size : 2])
    return np.stack(crops)


def main():
    keras.utils.set_random_seed(0)
    images = photographs()
    # A feature map to adapt the mask to: local contrast, which a first convolution would find.
    gray = images.astype("float32").mean(-1, keepdims=True) / 255
    features = sum(np.abs(np.gradient(gray, axis=axis)) for axis in (1, 2))
    features = features.reshape(4, 20, 8, 20, 8, 1).mean((2, 4))
    hosts = {
        "saliencymix": layers.SaliencyMix(seed=117),
        "saliencygrafting": layers.SaliencyGrafting(partner="roll", grid=8, alpha=8.0, temperature=0.3, seed=5),
        "guidedmixup": layers.GuidedMixup(partner="roll"),
        "cutmix": layers.CutMix(partner="roll", alpha=8.0, seed=3),
        "mixup": layers.MixUp(partner="roll", alpha=2.0, seed=3),
    }
    for name, host in hosts.items():
        named = {"a feature map": features} if name == "saliencymix" else None
        visualization.show_mixing(host, images, rows=4 if named else 2, features=named, path=IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
