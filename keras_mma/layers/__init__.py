"""Mixers, which mix images and draw a plan, and `FeatureMixAdapt`, which mixes features by it inside the network."""

from keras_mma.layers.catch_up_mix import CatchUpMix
from keras_mma.layers.feature_mix_adapt import FeatureMixAdapt
from keras_mma.layers.feature_mixer import FeatureMixer
from keras_mma.layers.follow_plan import FollowPlan
from keras_mma.layers.mixer import Mixer
from keras_mma.layers.mixers import (
    MIXERS,
    AttentiveMix,
    CutMix,
    FMix,
    GMix,
    GridMix,
    GuidedMixup,
    HMix,
    MixUp,
    PuzzleMix,
    RandomChoice,
    ResizeMix,
    SaliencyGrafting,
    SaliencyMix,
    SmoothMix,
)

__all__ = [
    "AttentiveMix",
    "CatchUpMix",
    "CutMix",
    "FMix",
    "FeatureMixAdapt",
    "FeatureMixer",
    "FollowPlan",
    "GMix",
    "GridMix",
    "GuidedMixup",
    "HMix",
    "MIXERS",
    "MixUp",
    "Mixer",
    "PuzzleMix",
    "RandomChoice",
    "ResizeMix",
    "SaliencyGrafting",
    "SaliencyMix",
    "SmoothMix",
]
