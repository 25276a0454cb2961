"""Draw the pictures of the method cards from scikit-learn's two photographs: `python docs/make_pictures.py`."""

from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_sample_images

from keras_mma import layers, plotting, visualization

IMAGES = Path(__file__).parent / "images"
# Arguments and seeds for which the first samples show the method well.
ARGUMENTS = {
    "saliencymix": {"seed": 673},
    "saliencygrafting": {"partner": "roll", "grid": 8, "alpha": 8.0, "temperature": 0.3, "seed": 5},
    "guidedmixup": {"partner": "roll"},
    "cutmix": {"partner": "roll", "alpha": 8.0, "seed": 3},
    "mixup": {"partner": "roll", "alpha": 2.0, "seed": 3},
    "puzzlemix": {"partner": "roll", "grids": (8,), "alpha": 4.0, "seed": 3},
    "attentivemix": {"partner": "roll"},
    "gmix": {"partner": "roll", "alpha": 4.0, "seed": 3},
    "hmix": {"partner": "roll", "alpha": 8.0, "seed": 3},
    "smoothmix": {"partner": "roll", "seed": 3},
    "fmix": {"partner": "roll", "alpha": 4.0, "seed": 3},
    "gridmix": {"partner": "roll", "alpha": 4.0, "seed": 3},
    "resizemix": {"partner": "roll", "seed": 3},
    "randomchoice": {"per": "sample", "seed": 3},
}


def photographs(count=4, size=160):
    """Crops of two photographs."""
    rng = np.random.default_rng(5)
    crops = []
    for number in range(count):
        photograph = load_sample_images().images[number % 2]
        y, x = (rng.integers(0, extent - 2 * size) for extent in photograph.shape[:2])
        crops.append(photograph[y : y + 2 * size : 2, x : x + 2 * size : 2])
    return np.stack(crops)


def local_contrast(images):
    """A feature map for `FeatureMixAdapt`: mean local contrast in a 20 x 20 grid, as a first convolution would find."""
    gray = images.astype("float32").mean(-1, keepdims=True) / 255
    contrast = sum(np.abs(np.gradient(gray, axis=axis)) for axis in (1, 2))
    return contrast.reshape(len(images), 20, 8, 20, 8, 1).mean((2, 4))


def draw_gallery(images):
    """All mixers with the arguments of their own pictures, on the same images, with the masks."""
    from matplotlib import figure

    fig = figure.Figure(figsize=(2 * len(images) * 1.5, 1.6 * len(layers.MIXERS)), layout="constrained")
    axes = fig.subplots(len(layers.MIXERS), 2 * len(images))
    for row, (name, mixer) in zip(axes, layers.MIXERS.items(), strict=True):
        mixed, plan = mixer(**ARGUMENTS.get(name, {"seed": 3}))(images, training=True)
        mixed, masks = (keras.ops.convert_to_numpy(value) for value in (mixed, plan["mask"]))
        row[0].set_ylabel(mixer.__name__, rotation=0, ha="right", va="center")
        for index, weight in enumerate(keras.ops.convert_to_numpy(plan["weight"])):
            row[2 * index].imshow(mixed[index])
            row[2 * index + 1].imshow(masks[index, ..., 0], cmap="gray", vmin=0, vmax=1)
            row[2 * index + 1].set_title(f"{weight:.2f}", fontsize=8)
        for cell in row:
            cell.set(xticks=[], yticks=[])
    fig.savefig(IMAGES / "gallery.png", dpi=60)


def draw_front(images):
    """The first picture of the README: one image and its partner, mixed by every mixer."""
    arguments = ARGUMENTS | {"saliencymix": {"alpha": 8.0, "seed": 3}}
    mixers = {name: mixer(**arguments.get(name, {"seed": 3})) for name, mixer in layers.MIXERS.items()}
    pictures = {"image": images[1], "partner": images[0]}
    for mixer in mixers.values():
        changes = {} if isinstance(mixer, layers.RandomChoice) else {"partner": "roll"}
        mixed, _ = mixer.copy(probability=1.0, **changes)(images, training=True)
        pictures[type(mixer).__name__] = keras.ops.convert_to_numpy(mixed)[1]
    columns = -(-len(pictures) // 2)
    with plotting.style():
        figure = plotting.new_figure(1.3 * columns, 3.1)
        axes = figure.subplots(2, columns).ravel()
        for axis in axes:
            axis.set_axis_off()
        for axis, (name, picture) in zip(axes, pictures.items(), strict=False):
            axis.imshow(picture)
            axis.set_title(name, fontsize=8)
    plotting.save(figure, IMAGES / "front.png")


def main():
    keras.utils.set_random_seed(0)
    images = photographs()
    draw_gallery(images)
    draw_front(images)
    for name, mixer in layers.MIXERS.items():
        arguments = ARGUMENTS.get(name, {"seed": 3})
        features = {"a feature map": local_contrast(images)} if name == "saliencymix" else None
        samples = 2 if features is None else 4
        path = IMAGES / f"{name}.png"
        visualization.show_mixing(mixer(**arguments), images, samples=samples, features=features, path=path)


if __name__ == "__main__":
    main()
