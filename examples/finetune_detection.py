"""Train a small detector on backbones that were trained as classifiers with and without mixing, for paired seeds.

    python examples/finetune_detection.py --output runs/detection

takes about ten minutes on two cores; docs/results/detection.md has the results. For each seed, `train_cifar.py`
trains two classifiers of digits, one without mixing and one by SaliencyMix, into the output folder. The backbone of
each, up to its last activation, gets the head of `small_fcos.py` and is fine-tuned as a whole on few scenes: digits on
photographs, in gray. Both arms of a seed have the same scenes, initial weights of the head and batches. The score is
the average precision at an IoU of 0.5 on test scenes, in points. Boxes are never mixed: the detector is trained
plainly.
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
import small_fcos
import train_cifar

CLASSES = 10
SIZE = 40
#: A difference below this number of points does not matter here.
MARGIN = 2.0
METHODS = {"none": "none", "mixed": "saliencymix"}


def classifier(arm, seed, options):
    """The classifier of an arm, which `train_cifar.py` trains, resumes, or evaluates again if it is finished."""
    output = options.output / f"classifier-{arm}-{seed}"
    arguments = ["--dataset", "digits", "--network", "wideresnet-10-1", "--batch-size", "64", "--seed", str(seed)]
    arguments += ["--epochs", str(options.classifier_epochs), "--validation-fraction", "0"]
    # A training with other settings in this folder is refused there.
    train_cifar.main([*arguments, "--method", METHODS[arm], "--output", str(output)])
    model = keras.models.load_model(output / "model.keras")
    return model.inference_model() if hasattr(model, "inference_model") else model


def backbone_of(network):
    """A copy of a classifier up to its last activation, for scenes, with its weights."""
    copy = keras.models.clone_model(network, input_tensors=keras.Input((SIZE, SIZE, 1)))
    copy.set_weights(network.get_weights())
    return keras.Model(copy.input, copy.get_layer("head_relu").output)


def gray(images):
    return (images @ np.array([0.299, 0.587, 0.114])).round().astype("uint8")[..., None]


def train(arm, seed, options, test):
    """Train one detector and return its score on the test scenes."""
    backbone = backbone_of(classifier(arm, seed, options))
    scenes = digit_scenes.compose("train", options.scenes, seed, SIZE)
    keras.utils.set_random_seed(seed)
    model = small_fcos.detector(backbone, CLASSES)
    steps = options.epochs * -(-options.scenes // options.batch_size)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)), small_fcos.loss)
    targets = small_fcos.targets(scenes.boxes, scenes.digits, SIZE, CLASSES)
    images, rng = gray(scenes.images), np.random.default_rng(seed)
    for _ in range(options.epochs):
        order = rng.permutation(len(images))
        model.fit(images[order], targets[order], batch_size=options.batch_size, shuffle=False, verbose=0)
    predicted = model.predict(gray(test.images), batch_size=100, verbose=0)
    found = [small_fcos.detections(each, CLASSES) for each in predicted]
    return 100 * small_fcos.average_precision(found, test.boxes, test.digits, CLASSES)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--classifier-epochs", type=int, default=10)
    parser.add_argument("--scenes", type=int, default=100, help="number of training scenes")
    parser.add_argument("--test-scenes", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    options = parser.parse_args(arguments)
    test = digit_scenes.compose("test", options.test_scenes, 1_000_000, SIZE)
    settings = {name: value for name, value in vars(options).items() if name not in ("output", "seeds")}

    def run(arm, seed):
        return train(arm, seed, options, test)

    scores = paired_runs.run(run, options.seeds, options.output / "scores.json", settings)
    print(paired_runs.report(scores, MARGIN))


if __name__ == "__main__":
    script.run(main)
