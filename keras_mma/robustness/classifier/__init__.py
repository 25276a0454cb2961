"""Any image classifier: pixels in, outputs and gradients out."""

from keras_mma.robustness.classifier.conventions import Preprocess
from keras_mma.robustness.classifier.loading import from_keras, load
from keras_mma.robustness.classifier.model import Classifier

__all__ = ["Classifier", "Preprocess", "from_keras", "load"]
