"""One file per mixer, each with nothing but its own arguments and how it samples a mask."""

from keras_mma.layers.mixers.cut_mix import CutMix
from keras_mma.layers.mixers.guided_mixup import GuidedMixup
from keras_mma.layers.mixers.mix_up import MixUp
from keras_mma.layers.mixers.random_choice import RandomChoice
from keras_mma.layers.mixers.saliency_grafting import SaliencyGrafting
from keras_mma.layers.mixers.saliency_mix import SaliencyMix

#: All mixers by the names that the command line uses.
MIXERS = {
    cls.__name__.lower(): cls for cls in (MixUp, CutMix, RandomChoice, SaliencyMix, SaliencyGrafting, GuidedMixup)
}

__all__ = ["MIXERS", "CutMix", "GuidedMixup", "MixUp", "RandomChoice", "SaliencyGrafting", "SaliencyMix"]
