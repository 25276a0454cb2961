"""Draw ten images with their maps from every detector and attribution: `python docs/attribution_figure.py MODEL`.

MODEL is a `.keras` file that `examples/train_cifar.py` made on CIFAR-10; the attributions are that network's.
"""

import argparse
import sys
from pathlib import Path

import keras
import numpy as np
from keras import ops
from matplotlib.figure import Figure

import keras_mma
from keras_mma import layers

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import datasets


def main():
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("model")
    parser.add_argument("--data-dir")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "images" / "saliency-cifar10.png")
    options = parser.parse_args()
    model = keras.models.load_model(options.model)
    network = model.inference_model() if isinstance(model, keras_mma.MixModel) else model
    data = datasets.load("cifar10", options.data_dir)
    images, labels = data.test
    # One test image of each class, the first.
    rows = [int(np.flatnonzero(labels == label)[0]) for label in range(10)]
    images = images[rows].astype("float32")
    columns = {"image": images / 255}
    for detector in keras_mma.saliency.names():
        columns[detector] = keras_mma.saliency.get(detector)(images)
    settings = [("activation", "stage2"), ("activation", None), ("gradient", None)]
    for detector, layer in settings:
        host = layers.SaliencyMix(detector=detector, attribution_layer=layer)
        mixed = keras_mma.mixify(network, host)
        (bound,) = [layer for layer in mixed.layers if isinstance(layer, layers.Mixer)]
        title = detector if detector == "gradient" else f"activation, {layer or 'last map'}"
        columns[title] = bound.saliency_maps(ops.convert_to_tensor(images))
    figure = Figure(figsize=(1.35 * len(columns), 13.5), layout="constrained")
    axes = figure.subplots(10, len(columns))
    for column, (title, values) in enumerate(columns.items()):
        values = ops.convert_to_numpy(values)
        for row in range(10):
            axis = axes[row, column]
            picture = values[row] if column == 0 else values[row, ..., 0]
            axis.imshow(picture, cmap=None if column == 0 else "magma", interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            if row == 0:
                axis.set_title(title.replace("_", " "), fontsize=8)
            if column == 0:
                axis.set_ylabel(data.class_names[labels[rows[row]]], fontsize=8)
    figure.savefig(options.output, dpi=100)


if __name__ == "__main__":
    main()
