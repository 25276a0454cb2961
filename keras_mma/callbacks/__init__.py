"""Callbacks: mixing that changes during training, and mixing watched while a model trains."""

from keras_mma.callbacks.mixing_monitor import MixingMonitor
from keras_mma.callbacks.mixing_schedule import MixingSchedule

__all__ = ["MixingMonitor", "MixingSchedule"]
