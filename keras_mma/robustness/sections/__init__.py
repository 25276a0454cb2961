"""The sections of the report. A new one is a file here and an entry in `SECTIONS`."""

from keras_mma.robustness.sections.attack import Attack
from keras_mma.robustness.sections.clean import Clean
from keras_mma.robustness.sections.corruption import Corruption
from keras_mma.robustness.sections.deformation import Deformation
from keras_mma.robustness.sections.occlusion import Occlusion

SECTIONS = (Clean(), Corruption(), Deformation(), Occlusion(), Attack())


def sections_of(report):
    """The sections that a report has."""
    return [section for section in SECTIONS if section.name in report]
