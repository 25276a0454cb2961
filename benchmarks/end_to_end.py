"""Images per second of `fit` from a `tf.data` pipeline with crop and flip, by where samples are mixed.

    python -m benchmarks.end_to_end

measures training without mixing, `CutMix` and `SaliencyMix` in the pipeline and in the model, and `keras.layers.CutMix`
in the pipeline, each on one and on two cores, and writes docs/results/end-to-end.json and the page end-to-end.md beside
it. Each number of cores has a process of its own, which may run on these cores only; in it, epochs of all methods
alternate.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np

from benchmarks import records, timing

NETWORKS = ("wideresnet-10-1", "preactresnet18")
PLAIN = "plain"
#: Methods by the name of their row: the mixer and where it mixes.
METHODS = {
    PLAIN: (None, None),
    "CutMix in the pipeline": ("CutMix", "pipeline"),
    "CutMix in the model": ("CutMix", "model"),
    "SaliencyMix in the pipeline": ("SaliencyMix", "pipeline"),
    "SaliencyMix in the model": ("SaliencyMix", "model"),
    "keras.layers.CutMix in the pipeline": ("keras.layers.CutMix", "pipeline"),
}
CLASSES, PADDING = 10, 4


def pipeline(images, labels, batch_size, mixer=None):
    """A `tf.data` pipeline that shuffles, crops and flips images, and mixes its batches.

    Args:
        images: uint8 images (n, side, side, 3).
        labels: Class indices (n,).
        batch_size: Number of images of a batch; a rest is dropped.
        mixer: Name of the mixer, or `None`.

    Returns:
        A `tf.data.Dataset` of float32 images and one-hot labels.
    """
    import keras
    import tensorflow as tf

    from keras_mma import layers

    side = images.shape[1]

    def augment(image, label):
        padded = tf.pad(image, [[PADDING, PADDING], [PADDING, PADDING], [0, 0]])
        image = tf.image.random_flip_left_right(tf.image.random_crop(padded, (side, side, 3)))
        return tf.cast(image, "float32"), tf.one_hot(label, CLASSES)

    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images), seed=0)
    dataset = dataset.map(augment, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size, drop_remainder=True)
    if mixer == "keras.layers.CutMix":
        cutmix = keras.layers.CutMix(seed=0)

        def mix(images, labels):
            mixed = cutmix({"images": images, "labels": labels}, training=True)
            return mixed["images"], mixed["labels"]

        dataset = dataset.map(mix, num_parallel_calls=tf.data.AUTOTUNE)
    elif mixer is not None:
        dataset = dataset.map(getattr(layers, mixer)(seed=0), num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.prefetch(tf.data.AUTOTUNE)


def training(method, setting, images, labels):
    """A function that trains for an epoch."""
    import keras

    from keras_mma import layers, mixify, models

    mixer, place = METHODS[method]
    build = {"wideresnet-10-1": lambda shape: models.WideResNet(10, 1, shape), "preactresnet18": models.PreActResNet18}
    model = build[setting["network"]](images.shape[1:])
    if place == "model":
        model = mixify(model, getattr(layers, mixer)(seed=0), at=[])
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), keras.losses.CategoricalCrossentropy(from_logits=True))
    dataset = pipeline(images, labels, setting["batch_size"], mixer if place == "pipeline" else None)
    return lambda: model.fit(dataset, epochs=1, verbose=0)


def run(setting):
    """Time epochs of all methods alternately, after one of each that compiles; seconds by method, lists of rounds."""
    from benchmarks.augmentation import natural_crops

    images = natural_crops(setting["steps"] * setting["batch_size"], setting["side"])
    labels = np.arange(len(images)) % CLASSES
    functions = {method: training(method, setting, images, labels) for method in METHODS}
    for function in functions.values():
        function()
    seconds = {method: [] for method in METHODS}
    for _ in range(setting["rounds"]):
        for method, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[method].append(time.perf_counter() - start)
    return seconds


def in_process(setting, cores):
    """What `run` returns in a process that may use these cores only, from before TensorFlow is imported.

    Args:
        setting: Dict of plain values.
        cores: List of the numbers of the cores.
    """
    env = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
    words = ("--run", json.dumps(setting))
    return timing.in_process("end_to_end", *words, env=env, preexec_fn=lambda: os.sched_setaffinity(0, cores))


def summarize(seconds, images):
    """The rows of a run.

    Args:
        seconds: Dict from methods to lists with the seconds of an epoch in each round.
        images: Number of images of an epoch.

    Returns:
        List of dicts with the `method`, its `images_per_second` (median), and its `ratio` to `plain`, that of the
        images per second in the same round (median, minimum and maximum).
    """
    speeds = {method: images / np.array(durations) for method, durations in seconds.items()}
    return [
        {
            "method": method,
            "images_per_second": float(np.median(values)),
            "ratio": timing.ratio(values, speeds[PLAIN]),
        }
        for method, values in speeds.items()
    ]


def render(record):
    """The record as a page of Markdown."""
    measured = f"{record['machine']}; {records.show_versions(record['versions'])}; {records.show_day(record)}."
    about = (
        "Images per second of `fit` from a `tf.data` pipeline that shuffles, crops and flips uint8 images, relative to "
        f"training without mixing in the same round: median of {record['rounds']} alternating rounds, with the minimum "
        f"and the maximum in parentheses. An epoch has {record['steps']} batches of {record['batch_size']} images of "
        f"{record['side']} × {record['side']} × 3, and every sample is mixed. A process may use the given number of "
        "cores only. [Performance](../performance.md#where-to-mix) explains the choice."
    )
    page = ["# End to end", "", *records.wrapped(about), ""]
    page += ["```sh", record["command"], "```", "", measured, ""]
    for network in dict.fromkeys(part["network"] for part in record["runs"]):
        runs = [part for part in record["runs"] if part["network"] == network]
        speeds = [f"{part['cores']} core{'s' * (part['cores'] > 1)}" for part in runs]
        page += [f"## {network}", "", f"| method | {' | '.join(speeds)} |", f"|---|{'---|' * len(runs)}"]
        for method in METHODS:
            rows = [row for part in runs for row in part["rows"] if row["method"] == method]
            page.append(f"| {method} | {' | '.join(map(_cell, rows))} |")
        page.append("")
    return "\n".join(page)


def _cell(row):
    if row["method"] == PLAIN:
        return f"{row['images_per_second']:.0f} images per second"
    return records.show_ratio(row["ratio"], 3)


def main(arguments=None):
    """Measure, print the ratios, and write the record and the page after each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="Batches of an epoch.")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--side", type=int, default=32, help="Height and width of the images.")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2], help="Numbers of cores.")
    parser.add_argument("--quick", action="store_true", help="Tiny sizes and one round, to check that it runs.")
    parser.add_argument("--output", type=Path, help="Folder (default: docs/results; with --quick, runs/end-to-end).")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.run:
        print(json.dumps(run(json.loads(options.run))))
        return
    if options.quick:
        options.rounds, options.steps, options.batch_size, options.side = 1, 2, 4, 16
        options.networks = list(NETWORKS[:1])
    available = sorted(os.sched_getaffinity(0))
    if min(options.cores) < 1 or max(options.cores) > len(available):
        parser.error(f"--cores must be from 1 to {len(available)}. Received: --cores {options.cores}")
    target = (options.output or Path("runs/end-to-end" if options.quick else "docs/results")) / "end-to-end.json"
    settings = {name: getattr(options, name) for name in ("rounds", "steps", "batch_size", "side")}
    record = {"command": records.recorded_command("end_to_end", arguments), **settings, "runs": []}
    record |= {"versions": records.versions("keras", "tensorflow"), **records.stamp()}
    for network in options.networks:
        for cores in options.cores:
            seconds = in_process({"network": network, **settings}, available[:cores])
            rows = summarize(seconds, options.steps * options.batch_size)
            record["runs"].append({"network": network, "cores": cores, "rows": rows, "rounds_in_seconds": seconds})
            records.write_json(target, record)
            records.write(target.with_suffix(".md"), render(record))
            for row in rows:
                print(f"{network}, {cores} cores, {row['method']:<36} {_cell(row)}", flush=True)


if __name__ == "__main__":
    main()
