"""Batches of a recipe: the same for every method, and the same after an interruption."""

import keras
import numpy as np


def steps_per_epoch(recipe, count, devices=1):
    """Training steps in an epoch of `count` images. The last batch may be smaller."""
    return -(-(count - count % devices) // min(recipe.batch_size, count))


def training_batches(recipe, train, first_epoch=0, devices=1):
    """Shuffled and augmented batches of all epochs from `first_epoch` on, one after the other.

    The order of an epoch, and the crop and reflection of an image in it, follow from the seed, the epoch and the
    image's index alone: not from the method, from the number of threads or from where the training was resumed.

    Args:
        recipe: A `keras_mma.study.recipe.Recipe`.
        train: The training images, a `keras_mma.datasets.Dataset`.
        first_epoch: Number of the first epoch, from 0.
        devices: Number of parts into which a batch is split. As many images are left out of each epoch as it takes
            for all batches to be multiples of it.

    Returns:
        A `tf.data.Dataset` of images (batch, height, width, channels), uint8, and labels (batch, classes), float32.
    """
    import tensorflow as tf

    images, labels = train.arrays()
    count = len(images)
    flip = recipe.augmentation and (train.flip if recipe.flip is None else recipe.flip)
    pad = max(1, train.shape[0] // 8) if recipe.augmentation else 0
    with tf.device("CPU:0"):
        images = tf.constant(images)
        labels = tf.constant(_one_hot(labels, train.classes))

    def epoch_batches(epoch):
        seeds = tf.random.experimental.stateless_split(tf.stack([recipe.seed, epoch]), 3)
        order = tf.random.experimental.stateless_shuffle(tf.range(count), seeds[0])[: count - count % devices]
        corners = tf.random.stateless_uniform((count, 2), seeds[1], 0, 2 * pad + 1, tf.int32)
        mirrored = tf.random.stateless_uniform((count,), seeds[2]) < (0.5 if flip else 0.0)
        draws = (order, tf.gather(corners, order), tf.gather(mirrored, order))
        return tf.data.Dataset.from_tensor_slices(draws).batch(min(recipe.batch_size, count))

    def read(order, corners, mirrored):
        batch = tf.gather(images, order)
        if recipe.augmentation:
            batch = crop_and_flip(batch, corners, mirrored, pad)
        return batch, tf.gather(labels, order)

    epochs = tf.data.Dataset.range(first_epoch, recipe.epochs)
    return epochs.flat_map(epoch_batches).map(read, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def crop_and_flip(images, corners, mirrored, pad):
    """Pad each image with zeros, crop it to its size at the given corner, and mirror some images.

    Args:
        images: Images (batch, height, width, channels).
        corners: Row and column of the upper left corner (batch, 2), 0 to 2 `pad`, int32.
        mirrored: Which images are mirrored (batch,), bool.
        pad: Rows and columns of zeros on each side.

    Returns:
        Images of the same shape.
    """
    import tensorflow as tf

    height, width = images.shape[1:3]
    padded = tf.pad(images, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
    columns = tf.where(mirrored[:, None], tf.range(width - 1, -1, -1), tf.range(width)) + corners[:, 1:]
    cropped = tf.gather(padded, tf.range(height) + corners[:, :1], axis=1, batch_dims=1)
    return tf.gather(cropped, columns, axis=2, batch_dims=1)


def evaluation_batches(dataset, batch_size, devices=1):
    """Batches of a `keras_mma.datasets.Dataset` in its order; at most `devices - 1` last images are left out."""
    import tensorflow as tf

    images, labels = dataset.take(np.arange(len(dataset) - len(dataset) % devices)).arrays()
    labels = _one_hot(labels, dataset.classes)
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _one_hot(labels, classes):
    return keras.utils.to_categorical(labels, classes).astype("float32")
