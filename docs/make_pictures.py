"""Draw the pictures of the README and the method cards from two photographs of scikit-learn.

python docs/make_pictures.py           # all of them
python docs/make_pictures.py front     # only these: front, depth, gallery, cards
"""

import sys
from pathlib import Path

import keras
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

import keras_mma
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


def mixed_images(images):
    """Dict from the name of every mixer to the second image as the mixer mixes it with the first."""
    arguments = ARGUMENTS | {"saliencymix": {"alpha": 8.0, "seed": 3}}
    pictures = {}
    for name, mixer_class in layers.MIXERS.items():
        mixer = mixer_class(**arguments.get(name, {"seed": 3}))
        changes = {} if isinstance(mixer, layers.RandomChoice) else {"partner": "roll"}
        mixed, _ = mixer.copy(probability=1.0, **changes)(images, training=True)
        pictures[mixer_class.__name__] = keras.ops.convert_to_numpy(mixed)[1]
    return pictures


def draw_front(images):
    """The first picture of the README, one image and its partner through every mixer, and those of its table."""
    pictures = mixed_images(images)
    draw_row({"image": images[1], "partner": images[0]} | pictures, IMAGES / "front.png", rows=2)
    at_features = layers.SaliencyMix(sites=(1,), partner="roll", probability=1.0, alpha=8.0, seed=3)
    _, plan = at_features(images, training=True)
    # `CatchUpMix` takes the colors of the image as the channels of a feature map.
    mixed, _ = layers.CatchUpMix(site=1)(images / 255, plan, training=True)
    pictures["CatchUpMix"] = np.uint8(255 * keras.ops.convert_to_numpy(mixed)[1])
    pictures["FeatureMixAdapt"] = adapted_mask(local_contrast(images), plan)[1]
    for name, picture in pictures.items():
        save_small(picture, IMAGES / "small" / f"{name.lower()}.png")


def adapted_mask(features, plan, **arguments):
    """The mask of `FeatureMixAdapt` at a site with these features, in gray values."""
    return gray(layers.FeatureMixAdapt(site=1, **arguments).mask(keras.ops.convert_to_tensor(features), plan))


def gray(mask):
    """A mask as gray values."""
    return np.uint8(255 * keras.ops.convert_to_numpy(mask)[..., 0])


def save_small(picture, path, size=64, colors=64):
    """Write a picture of a few kB for the table of the README."""
    path.parent.mkdir(exist_ok=True)
    way = Image.Resampling.LANCZOS if picture.ndim == 3 else Image.Resampling.NEAREST
    Image.fromarray(picture).resize((size, size), way).convert("RGB").quantize(colors).save(path, optimize=True)


def draw_row(pictures, path, rows=1):
    """Pictures in rows with their names above."""
    columns = -(-len(pictures) // rows)
    with plotting.style():
        figure = plotting.new_figure(1.3 * columns, 1.55 * rows)
        axes = figure.subplots(rows, columns).ravel()
        for axis in axes:
            axis.set_axis_off()
        for axis, (name, picture) in zip(axes, pictures.items(), strict=False):
            axis.imshow(picture, **({"cmap": "gray", "vmin": 0, "vmax": 255} if picture.ndim == 2 else {}))
            axis.set_title(name, fontsize=8)
    plotting.save(figure, path)


def draw_depth(images, steps=60):
    """The mask as `FeatureMixAdapt` adapts it at three depths of a network, trained to tell the two photographs."""
    photos = [photograph[::2, ::2] for photograph in load_sample_images().images]
    rng, size = np.random.default_rng(0), 96
    labels = rng.integers(0, 2, 16 * steps)
    corners = [[rng.integers(0, extent - size) for extent in photos[0].shape[:2]] for _ in labels]
    crops = [photos[label][y : y + size, x : x + size] for label, (y, x) in zip(labels, corners, strict=True)]
    network = keras_mma.models.WideResNet(10, 1, input_shape=(None, None, 3), classes=2)
    mixer = layers.SaliencyMix(partner="roll", probability=1.0, alpha=8.0, seed=3)
    stages = ["stage1", "stage2", "stage3"]
    model = keras_mma.mixify(network, mixer, at=stages)
    model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
    model.fit(np.stack(crops) / 255, labels, batch_size=16, verbose=0)
    features = keras.Model(network.input, [network.get_layer(stage).output for stage in stages])(images / 255)
    mixed, plan = mixer(images, training=True)
    rows = [{"image": images[1], "mask of SaliencyMix": gray(plan["mask"])[1]}]
    rows += [{"partner": images[0], "mixed": keras.ops.convert_to_numpy(mixed)[1]}]
    settings = {"MMA": {}, "naive mask": {"attention": None, "smooth": False, "resize": "nearest"}}
    for row, (label, arguments) in zip(rows, settings.items(), strict=True):
        for stage, maps in zip(stages, features, strict=True):
            row[f"{label} at {stage}"] = adapted_mask(maps, plan, **arguments)[1]
    pictures = {name: picture for row in rows for name, picture in row.items()}
    weights = {name: picture.mean() / 255 for name, picture in pictures.items() if picture.ndim == 2}
    names = {name: f"{name}\nweight {weights[name]:.2f}" if name in weights else name for name in pictures}
    draw_row({names[name]: picture for name, picture in pictures.items()}, IMAGES / "depth.png", rows=2)


def draw_cards(images):
    """The pictures of the method cards."""
    for name, mixer in layers.MIXERS.items():
        arguments = ARGUMENTS.get(name, {"seed": 3})
        features = {"a feature map": local_contrast(images)} if name == "saliencymix" else None
        samples = 2 if features is None else 4
        path = IMAGES / f"{name}.png"
        visualization.show_mixing(mixer(**arguments), images, samples=samples, features=features, path=path)
    draw_transport(images)
    draw_channels(images)


def draw_channels(images):
    """Six channels of features of an image and of its partner, and as `CatchUpMix` mixes them."""
    colors = images.astype("float32").reshape(len(images), 40, 4, 40, 4, 3).mean((2, 4)) / 255
    light = colors.mean(-1)
    edges = [np.maximum(sign * np.gradient(light, axis=axis), 0) * 3 for axis in (1, 2) for sign in (1, -1)]
    features = np.stack([light, 1 - light, *edges], -1)
    names = ["light", "dark", "darker above", "darker below", "darker on the left", "darker on the right"]
    mixer = layers.MixUp(sites=(1,), partner="roll", alpha=50.0, seed=3)
    _, plan = mixer(images, training=True)
    mixed, plan = layers.CatchUpMix(site=1)(features, plan, training=True)
    mixed, weight = keras.ops.convert_to_numpy(mixed)[1], keras.ops.convert_to_numpy(plan["weight"])[1]
    pictures = {}
    for row, maps in (("image", features[1]), ("partner", features[0]), (f"mixed, weight {weight:.2f}", mixed)):
        for channel, name in enumerate(names):
            source = "its own" if np.array_equal(maps[..., channel], features[1, ..., channel]) else "the partner's"
            title = f"{row}\n{source if row.startswith('mixed') else name}"
            pictures[title + " " * channel] = np.uint8(255 * np.minimum(maps[..., channel], 1))
    draw_row(pictures, IMAGES / "catchupmix.png", rows=3)


def draw_transport(images):
    """Two images as `PuzzleMix` mixes them without transport and with two weights of the distance."""
    pictures = {}
    arguments = {"partner": "roll", "grids": (16,), "eta": 0.0, "detector": "spectral_residual", "seed": 3}
    for index in (1, 2):
        mixed, plan = layers.PuzzleMix(**arguments)(images, training=True)
        row = {"image": images[index], "partner": images[index - 1], "mask": gray(plan["mask"])[index]}
        row["no transport"] = keras.ops.convert_to_numpy(mixed)[index]
        for xi in (0.8, 0.05):
            mixed, _ = layers.PuzzleMix(transport=True, xi=xi, **arguments)(images, training=True)
            row[f"transport, xi={xi}"] = keras.ops.convert_to_numpy(mixed)[index]
        pictures |= {name + " " * index: picture for name, picture in row.items()}
    draw_row(pictures, IMAGES / "puzzlemix_transport.png", rows=2)


def main(names):
    keras.utils.set_random_seed(0)
    images = photographs()
    parts = {"front": draw_front, "depth": draw_depth, "gallery": draw_gallery, "cards": draw_cards}
    for name in names or parts:
        parts[name](images)


if __name__ == "__main__":
    main(sys.argv[1:])
