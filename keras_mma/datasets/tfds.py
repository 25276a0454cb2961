"""Datasets of tensorflow-datasets."""

import functools

import numpy as np

from keras_mma.datasets import resizing
from keras_mma.datasets.dataset import Dataset
from keras_mma.errors import InputError, first_line

# Datasets of characters and digits, in which a mirrored image may belong to no class or to another one.
_NO_FLIP = (
    "binarized_mnist",
    "cmaterdb",
    "emnist",
    "kmnist",
    "mnist",
    "mnist_corrupted",
    "omniglot",
    "svhn_cropped",
)


def readers(name, builder_name, data_dir=None, image_size=None, resize="antialiased"):
    """Functions that read the splits `train`, `validation` and `test` that a set has."""
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise InputError(f"{name} needs tensorflow-datasets: pip install 'keras-mma[datasets]'") from error
    try:
        builder = tensorflow_datasets.builder(builder_name, data_dir=data_dir)
        features = builder.info.features
        _check_features(name, features)
        if None not in features["image"].shape:
            resizing.check_pixels(f"images of {name}", *features["image"].shape[:2], image_size)
        builder.download_and_prepare()
        splits = [part for part in ("train", "validation", "test") if part in builder.info.splits]
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name} is not available from tensorflow-datasets: {first_line(error)}") from error
    if not splits:
        raise InputError(f"{name} must have a split train or test. Received: {', '.join(builder.info.splits)}")
    return {part: functools.partial(_read, name, builder, part, image_size, resize) for part in splits}


def _check_features(name, features):
    if not {"image", "label"} <= set(features):
        raise InputError(f"{name} must have the features image and label. Received: {', '.join(features)}")
    if getattr(features["label"], "num_classes", None) is None:
        raise InputError(f"{name} must have labels that are class indices. Received: {features['label']}")


def _read(name, builder, part, image_size, resize):
    import tensorflow_datasets

    features = builder.info.features
    try:
        if None in features["image"].shape:
            examples = tensorflow_datasets.as_numpy(builder.as_dataset(split=part))
            images, labels = _stack(name, examples, image_size, resize)
        else:
            examples = tensorflow_datasets.as_numpy(builder.as_dataset(split=part, batch_size=-1))
            images, labels = examples["image"], examples["label"]
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name} is not available from tensorflow-datasets: {first_line(error)}") from error
    version = getattr(tensorflow_datasets, "__version__", "unknown")
    dataset = Dataset.of_arrays(
        _as_uint8(images),
        labels,
        name,
        class_names=features["label"].names,
        identity=f"{builder.info.version} {part}",
        flip=builder.name not in _NO_FLIP,
        decoding=f"decoded by tensorflow-datasets {version}",
        selection=f"the {part} split",
    )
    return resizing.resized(dataset, image_size, resize)


def _stack(name, examples, image_size, resize):
    """Images of different sizes, each resized as it arrives."""
    images, labels = [], []
    for example in examples:
        image = _as_uint8(example["image"])
        height, width = image.shape[:2]
        resizing.check_pixels(f"images of {name}", height, width, image_size)
        if image_size is None and images and image.shape != images[0].shape:
            raise InputError(
                f"images of {name} must be of one size, or `image_size` must be given. "
                f"Received: {height} x {width} pixels"
            )
        images.append(resizing.resize_image(image, image_size, resize))
        labels.append(example["label"])
    return np.stack(images), np.array(labels)


def _as_uint8(images):
    return np.round(images / 257).astype("uint8") if images.dtype == np.uint16 else images
