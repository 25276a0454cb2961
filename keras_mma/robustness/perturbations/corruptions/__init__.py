"""Hendrycks & Dietterich's corruptions, regenerated from any images: one file for each group.

A new corruption is one decorated function in the file of its group. A new group is one file, imported here.
"""

from keras_mma.robustness.perturbations.corruptions import noise, blur, weather, digital, extra  # isort: skip
from keras_mma.robustness.perturbations.corruptions.registry import (
    CORRUPTIONS,
    SEVERITIES,
    corrupt,
    label,
)

__all__ = ["CORRUPTIONS", "SEVERITIES", "blur", "corrupt", "digital", "extra", "label", "noise", "weather"]
