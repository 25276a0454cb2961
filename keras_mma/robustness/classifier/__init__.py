"""Any image classifier: pixels in, outputs and gradients out."""

from keras_mma.robustness.classifier.conventions import Preprocess
from keras_mma.robustness.classifier.model import Classifier, from_keras, load

__all__ = ["Classifier", "Preprocess", "from_keras", "load"]
