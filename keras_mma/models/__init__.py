"""Models: mixed-label training around a network, and the CIFAR networks of the papers."""

from keras_mma.models.mix_model import MixModel
from keras_mma.models.mixify import mixify
from keras_mma.models.mixing_points import MixingPoint, mixing_points
from keras_mma.models.preact_resnet import PreActResNet18, WideResNet
from keras_mma.models.resnet20 import ResNet20

__all__ = ["MixModel", "MixingPoint", "PreActResNet18", "ResNet20", "WideResNet", "mixify", "mixing_points"]
