"""Train a small U-Net to segment digits on photographs, with and without mixing, for paired seeds.

    python examples/segment_digits.py --output runs/segmentation.json

takes a few minutes on two cores; docs/results/segmentation.md has the results. The classes are the ground and the
ten digits, whose pixels weigh more. Pixels on the edge of a digit are ignored. Both arms of a seed have the same
scenes, initial weights and batches. Mixed scenes are those of SaliencyMix, at the input or after the first block
(`mixify` finds that point: the skip connections go around all later ones); the labels of each pixel are mixed by the
mask that was applied there. The score is the mean intersection over union of the classes on test scenes, in points.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import digit_scenes
import keras
import numpy as np
import paired_runs
import script
from keras import layers

import keras_mma

CLASSES = 11
SIZE = 32
# Weight of the pixels of digits, which are few.
DIGIT_WEIGHT = 4.0
#: A difference below this number of points does not matter here.
MARGIN = 2.0


def u_net(filters):
    """A U-Net with three resolutions."""

    def block(x, width, name):
        for part in "ab":
            x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}{part}")(x)
            x = layers.ReLU(name=f"{name}{part}_relu")(layers.BatchNormalization(name=f"{name}{part}_norm")(x))
        return x

    inputs = keras.Input((SIZE, SIZE, 3))
    x, skipped = layers.Rescaling(1 / 127.5, offset=-1)(inputs), []
    for level in range(2):
        x = block(x, filters * 2**level, f"encoder{level}")
        skipped.append(x)
        x = layers.MaxPooling2D()(x)
    x = block(x, 4 * filters, "bottom")
    for level in (1, 0):
        x = layers.Concatenate()([layers.UpSampling2D()(x), skipped[level]])
        x = block(x, filters * 2**level, f"decoder{level}")
    return keras.Model(inputs, layers.Conv2D(CLASSES, 1, name="logits")(x))


class Batches(keras.utils.PyDataset):
    """Batches in an order that depends on the seed alone, so that both arms see the same."""

    def __init__(self, images, maps, size, seed):
        super().__init__()
        self.images, self.maps, self.size, self.rng = images, maps, size, np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self):
        return len(self.images) // self.size

    def __getitem__(self, index):
        rows = self.order[index * self.size : (index + 1) * self.size]
        weights = np.where(self.maps[rows] > 0, DIGIT_WEIGHT, 1.0).astype("float32")
        return self.images[rows], self.maps[rows], weights

    def on_epoch_end(self):
        self.order = self.rng.permutation(len(self.images))


def mean_iou(predicted, maps):
    """The mean over the classes of intersection over union, without the ignored pixels."""
    is_counted = maps != digit_scenes.IGNORED
    pairs = np.bincount(CLASSES * maps[is_counted].astype(int) + predicted[is_counted], minlength=CLASSES**2)
    confusion = pairs.reshape(CLASSES, CLASSES)
    union = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    return float((confusion.diagonal() / np.maximum(union, 1)).mean())


def train(arm, seed, options, test):
    """Train one network and return its score on the test scenes."""
    keras.utils.set_random_seed(seed)
    scenes = digit_scenes.compose("train", options.scenes, seed, SIZE)
    network = u_net(options.filters)
    mixer = keras_mma.layers.SaliencyMix(probability=0.5 if arm == "mixed" else 0.0, seed=seed)
    model = keras_mma.mixify(network, mixer)
    steps = options.epochs * (options.scenes // options.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(1e-4, steps, warmup_target=5e-3, warmup_steps=steps // 10)
    optimizer = keras.optimizers.Adam(schedule)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, ignore_class=digit_scenes.IGNORED)
    model.fit(Batches(scenes.images, scenes.maps, options.batch_size, seed), epochs=options.epochs, verbose=0)
    predicted = network.predict(test.images, batch_size=100, verbose=0).argmax(-1)
    return 100 * mean_iou(predicted, test.maps)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenes", type=int, default=400, help="number of training scenes")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=10)
    parser.add_argument("--filters", type=int, default=8, help="channels of the first block")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON file of the scores")
    options = parser.parse_args(arguments)
    test = digit_scenes.compose("test", 400, 1_000_000, SIZE)
    settings = {name: value for name, value in vars(options).items() if name not in ("output", "seeds")}
    scores = paired_runs.run(lambda arm, seed: train(arm, seed, options, test), options.seeds, options.output, settings)
    print(paired_runs.report(scores, MARGIN))


if __name__ == "__main__":
    script.run(main)
