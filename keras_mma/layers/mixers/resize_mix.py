"""ResizeMix (Qin et al., 2020)."""

from typing import Any

import keras
from keras import ops

from keras_mma import moving, sampling
from keras_mma.layers import arguments, masks
from keras_mma.layers.mixer import Mixer


@keras.saving.register_keras_serializable("keras_mma")
class ResizeMix(Mixer):
    """Shrinks the whole partner and pastes it at a random place of each image.

    With a uniform scale t and a uniform place inside the image for each sample:

        box = t H x t W,    M = 0 inside the box, 1 outside
        x~  = x outside the box, the shrunk partner inside,    y~ = mean(M) y + (1 - mean(M)) y_partner

    The partner is shrunk to its nearest pixels, so that segmentation masks of class indices can follow. Only images can
    be shrunk: this mixer has no feature sites. With `label="saliency"`, all of the partner's saliency counts as pasted.

    Args:
        scale: Smallest and largest t, in (0, 1].
        **kwargs: Arguments of `Mixer`: `probability`, `partner`, `seed`, ... See `Mixer` for the call.

    Example:

    >>> images, labels = np.random.rand(8, 32, 32, 3), np.eye(10)[:8]
    >>> images, labels = keras_mma.layers.ResizeMix(seed=1)(images, labels)
    >>> np.allclose(keras.ops.sum(labels, axis=1), 1)
    True

    References:
        - J. Qin, J. Fang, Q. Zhang, W. Liu, X. Wang, X. Wang, ResizeMix: mixing data with preserved object information
          and true labels, 2020, arXiv:2012.11101, section 3.
    """

    has_binary_mask = is_input_only = shows_whole_partner = True

    def __init__(self, *, scale: tuple[float, float] = (0.1, 0.8), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = arguments.interval("scale", scale, largest=1.0)

    def sample_mask(self, images, partner, maps):
        sizes = self.image_size(ops.shape(images))
        scale = sampling.uniform((ops.shape(images)[0],), self.seed_generator, *self.scale)
        position = sampling.uniform((2, ops.shape(images)[0]), self.seed_generator)
        bounds, source = [], []
        for axis, size in enumerate(sizes):
            length = ops.maximum(ops.floor(scale * ops.cast(size, "float32")), 1.0)
            start = ops.floor(position[axis] * (ops.cast(size, "float32") - length + 1.0))
            bounds.append((ops.cast(start, "int32"), ops.cast(start + length, "int32")))
            source.append(moving.shrunk(start, length, size))
        return masks.Box(*bounds, source=tuple(source))

    def get_config(self):
        return {**super().get_config(), "scale": list(self.scale)}
