"""Draw the saliency maps of all detectors and attributions for ten images: `python docs/attribution_figure.py MODEL`.

MODEL is a `.keras` file that `examples/train_cifar.py` wrote for CIFAR-10. The attributions are those of its network.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from keras import ops
from matplotlib.figure import Figure

import keras_mma
from keras_mma import datasets, layers, saliency

# Detector and `attribution_layer` of each attribution.
ATTRIBUTIONS = (("activation", "stage2"), ("activation", None), ("gradient", None))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("model", help="a .keras file")
    parser.add_argument("--data-dir", help="folder of tensorflow-datasets")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "images" / "saliency-cifar10.png")
    options = parser.parse_args()
    model = keras.models.load_model(options.model)
    network = model.inference_model() if isinstance(model, keras_mma.MixModel) else model
    test = datasets.load("cifar10", data_dir=options.data_dir).test
    # The first test image of each class.
    samples = test.take([int(np.flatnonzero(test.labels == label)[0]) for label in range(test.classes)])
    images = samples.arrays()[0].astype("float32")
    draw(columns_of(network, images), [test.class_names[label] for label in samples.labels], options.output)


def columns_of(network, images):
    """Dict from titles to images or maps (batch, height, width, channels)."""
    columns = {"image": images / 255}
    for detector in sorted(set(saliency.names()) - {"fine_grained_misread"}):
        columns[detector] = saliency.get(detector)(images)
    for detector, layer in ATTRIBUTIONS:
        mixed = keras_mma.mixify(network, layers.SaliencyMix(detector=detector, attribution_layer=layer))
        title = detector if detector == "gradient" else f"activation, {layer or 'last map'}"
        columns[title] = mixed.mixer.saliency_maps(ops.convert_to_tensor(images))
    return {title: ops.convert_to_numpy(values) for title, values in columns.items()}


def draw(columns, names, path):
    """Draw one row for each sample."""
    figure = Figure(figsize=(1.35 * len(columns), 1.35 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), len(columns))
    for number, (title, values) in enumerate(columns.items()):
        for axis, value in zip(axes[:, number], values, strict=True):
            is_image = value.shape[-1] == 3
            axis.imshow(
                value if is_image else value[..., 0], cmap=None if is_image else "magma", interpolation="nearest"
            )
            axis.set_xticks([])
            axis.set_yticks([])
        axes[0, number].set_title(title.replace("_", " "), fontsize=8)
    for axis, name in zip(axes[:, 0], names, strict=True):
        axis.set_ylabel(name, fontsize=8)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
