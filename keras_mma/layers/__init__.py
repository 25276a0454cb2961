"""Mixers, which mix images and draw a plan, and `FeatureMixAdapt`, which mixes features by it inside the network."""

from keras_mma.layers.feature_mix_adapt import FeatureMixAdapt
from keras_mma.layers.feature_mixer import FeatureMixer
from keras_mma.layers.mixer import Mixer
from keras_mma.layers.mixers import MIXERS, CutMix, GuidedMixup, MixUp, RandomChoice, SaliencyGrafting, SaliencyMix

__all__ = [
    "MIXERS",
    "CutMix",
    "FeatureMixAdapt",
    "FeatureMixer",
    "GuidedMixup",
    "MixUp",
    "Mixer",
    "RandomChoice",
    "SaliencyGrafting",
    "SaliencyMix",
]
