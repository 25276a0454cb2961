"""One file per mixer, each with nothing but its own arguments and how it samples a mask."""

from keras_mma.layers.mixers.attentive_mix import AttentiveMix
from keras_mma.layers.mixers.cut_mix import CutMix
from keras_mma.layers.mixers.f_mix import FMix
from keras_mma.layers.mixers.g_mix import GMix
from keras_mma.layers.mixers.grid_mix import GridMix
from keras_mma.layers.mixers.guided_mixup import GuidedMixup
from keras_mma.layers.mixers.h_mix import HMix
from keras_mma.layers.mixers.mix_up import MixUp
from keras_mma.layers.mixers.puzzle_mix import PuzzleMix
from keras_mma.layers.mixers.random_choice import RandomChoice
from keras_mma.layers.mixers.resize_mix import ResizeMix
from keras_mma.layers.mixers.saliency_grafting import SaliencyGrafting
from keras_mma.layers.mixers.saliency_mix import SaliencyMix
from keras_mma.layers.mixers.smooth_mix import SmoothMix

#: All mixers by name. The commands use these names, but `switch` for `randomchoice`.
MIXERS = {
    cls.__name__.lower(): cls
    for cls in (
        MixUp,
        CutMix,
        RandomChoice,
        SaliencyMix,
        SaliencyGrafting,
        GuidedMixup,
        PuzzleMix,
        AttentiveMix,
        GMix,
        HMix,
        SmoothMix,
        FMix,
        GridMix,
        ResizeMix,
    )
}

__all__ = [
    "MIXERS",
    "AttentiveMix",
    "CutMix",
    "FMix",
    "GMix",
    "GridMix",
    "GuidedMixup",
    "HMix",
    "MixUp",
    "PuzzleMix",
    "RandomChoice",
    "ResizeMix",
    "SaliencyGrafting",
    "SaliencyMix",
    "SmoothMix",
]
