"""The layers: hosts, which draw a plan, and `FeatureMixAdapt`, which follows it inside the network."""

from keras_mma.layers.cutmix import CutMix
from keras_mma.layers.feature_mix_adapt import FeatureMixAdapt
from keras_mma.layers.guided_mixup import GuidedMixup
from keras_mma.layers.mixer import Mixer
from keras_mma.layers.mixup import MixUp
from keras_mma.layers.saliency_grafting import SaliencyGrafting
from keras_mma.layers.saliency_mix import SaliencyMix

__all__ = ["CutMix", "FeatureMixAdapt", "GuidedMixup", "MixUp", "Mixer", "SaliencyGrafting", "SaliencyMix"]
