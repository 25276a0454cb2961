"""Ways to change an image: corruptions, deformations, occlusion and attacks."""

from keras_mma.robustness.perturbations.corruptions import corrupt
from keras_mma.robustness.perturbations.deformations import deform
from keras_mma.robustness.perturbations.occlusion import occlude

__all__ = ["corrupt", "deform", "occlude"]
