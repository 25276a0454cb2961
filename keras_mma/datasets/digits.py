"""The handwritten digits that are bundled with scikit-learn."""

import functools

import numpy as np

from keras_mma.datasets import resizing
from keras_mma.datasets.dataset import Dataset
from keras_mma.errors import InputError


def readers(image_size=None, resize="antialiased"):
    """Functions that read the 1,347 training and the 450 test images, enlarged from 8 x 8 to 16 x 16, then resized."""
    return {
        "train": lambda: resizing.resized(_read()[0], image_size, resize),
        "test": lambda: resizing.resized(_read()[1], image_size, resize),
    }


@functools.cache
def _read():
    try:
        from scipy.ndimage import zoom
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise InputError("digits needs scikit-learn and scipy: pip install 'keras-mma[datasets]'") from error

    data = load_digits()
    images = np.clip(zoom(data.images / 16.0, (1, 2, 2), order=1), 0, 1)
    images = np.round(255 * images).astype("uint8")[..., None]
    train_x, test_x, train_y, test_y = train_test_split(
        images, data.target, test_size=0.25, stratify=data.target, random_state=0
    )
    common = {"name": "digits", "classes": 10, "flip": False, "decoding": "8 x 8 digits enlarged to 16 x 16"}
    return (
        Dataset.of_arrays(train_x, train_y, selection="the training part", **common),
        Dataset.of_arrays(test_x, test_y, selection="the test part", **common),
    )
