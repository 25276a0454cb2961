"""The options of an evaluation, from which both `evaluate(**options)` and the command line are made."""

import dataclasses

from keras_mma import checks
from keras_mma.datasets import RESIZES
from keras_mma.errors import InputError
from keras_mma.robustness.classifier.conventions import Preprocess
from keras_mma.robustness.perturbations.attacks import RESTARTS
from keras_mma.robustness.sections import SECTIONS


def _option(default, help, section=None, **argument):
    """A field with its description, the only section that uses it, and the keywords of its argument in `argparse`.

    With `flag=False` it is no option of the command line.
    """
    return dataclasses.field(default=default, metadata={"help": help, "section": section, **argument})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The options of an evaluation.

    Raises:
        InputError: if a value is out of range.
    """

    only: tuple | None = _option(
        None,
        f"Sections to measure, of {', '.join(section.name for section in SECTIONS)}; all by default. The clean "
        "section is always measured.",
        nargs="+",
        metavar="SECTION",
    )
    limit: int | None = _option(
        None, "Number of test images, drawn by the seed; all by default.", type=int, metavar="N"
    )
    batch_size: int = _option(128, "Number of images at once, which determines the memory.", type=int, metavar="N")
    seed: int = _option(0, "Non-negative integer for everything random.", type=int, metavar="N")
    preprocess: object = _option(
        None,
        "What the model expects, as words such as scale=1/255 mean=0.49,0.48,0.45 std=0.2,0.2,0.2 order=bgr: its input "
        "is (scale * pixel - mean) / std. By default pixels 0 to 255 as they are.",
        nargs="+",
        metavar="WORD",
    )
    outputs: str | None = _option(None, "logits or probabilities; by default inferred from the values.", metavar="KIND")
    signature: str | None = _option(None, "Signature of the SavedModel; serving_default by default.", metavar="NAME")
    output_name: str | None = _option(None, "Output to measure, of a model with several.", metavar="NAME")
    corruptions: str = _option(
        "regenerate",
        "Source of the corrupted images: regenerate, tfds (CIFAR-10-C of tensorflow-datasets) or the folder of the "
        "published .npy files.",
        metavar="SOURCE",
        section="corruption",
    )
    extra_corruptions: bool = _option(
        False,
        "Whether to measure speckle noise, Gaussian blur, spatter and saturation too, which were published for "
        "validation and are not part of the mean error.",
        action="store_true",
        section="corruption",
    )
    frost_textures: str | None = _option(
        None,
        "Folder of images of frost, without which that corruption is omitted.",
        metavar="DIR",
        section="corruption",
    )
    baseline: str | None = _option(
        None,
        "Report, or folder of one, relative to which corruption errors are also given.",
        metavar="REPORT",
        section="corruption",
    )
    epsilons: tuple | None = _option(
        None,
        "Largest changes of a pixel by the attacks, in levels of 255. By default 2 4 8 for FGSM and 4 8 for PGD.",
        nargs="+",
        type=float,
        metavar="EPSILON",
        section="attack",
    )
    steps: int = _option(20, "Number of steps of PGD.", type=int, metavar="N", section="attack")
    restarts: int = _option(RESTARTS, "Number of random starts of PGD.", type=int, metavar="N", section="attack")
    detector: str = _option(
        "fine_grained",
        "Saliency detector that orders the patches of the occlusion.",
        metavar="NAME",
        section="occlusion",
    )
    data_dir: str | None = _option(
        None, "Folder of tensorflow-datasets, which downloads what is missing there.", metavar="DIR"
    )
    image_size: int | None = _option(
        None, "Height and width to which images are resized; by default they keep their size.", type=int, metavar="N"
    )
    resize: str = _option(
        "antialiased",
        f"How images are resized: {', '.join(RESIZES)} (as keras.utils.image_dataset_from_directory).",
        metavar="METHOD",
    )
    skip_damaged: bool = _option(
        False, "Whether to leave out image files that cannot be decoded; the report names them.", action="store_true"
    )
    output: str | None = _option(
        None,
        "Folder for report.html, report.json, report.md and pictures; it must be new, empty or hold an earlier report "
        "of this model. Parts that an interrupted run has finished there are not measured again.",
        metavar="DIR",
    )
    progress: bool = _option(False, "Whether to show a progress bar on a terminal.", flag=False)

    def __post_init__(self):
        names = [section.name for section in SECTIONS]
        if isinstance(self.preprocess, Preprocess):
            object.__setattr__(self, "preprocess", self.preprocess.checked())
        if self.only is not None and (not self.only or isinstance(self.only, str) or set(self.only) - set(names)):
            raise InputError(f"`only` must name some of {', '.join(names)}. Received: only={self.only}")
        for name, least in (
            ("limit", 1),
            ("batch_size", 1),
            ("seed", 0),
            ("steps", 1),
            ("restarts", 1),
            ("image_size", 1),
        ):
            value = getattr(self, name)
            if value is None and type(self).__dataclass_fields__[name].default is None:
                continue
            object.__setattr__(self, name, checks.integer(name, value, least))
        if self.resize != "antialiased" and self.image_size is None:
            raise InputError(f"`resize` needs `image_size`. Received: resize={self.resize!r}, image_size=None")
        if self.epsilons is not None:
            values = self.epsilons.tolist() if hasattr(self.epsilons, "tolist") else self.epsilons
            values = tuple(values) if isinstance(values, (tuple, list)) else (values,)
            if not (values and all(isinstance(value, (int, float)) and 0 < value <= 255 for value in values)):
                raise InputError(f"`epsilons` must be levels between 0 and 255. Received: epsilons={self.epsilons}")
            object.__setattr__(self, "epsilons", values)
        if not isinstance(self.detector, str):  # the report names it
            raise InputError(
                "`detector` must be the name of a detector; `keras_mma.saliency.register` names a function. Received: "
                f"detector={self.detector!r}"
            )
        if self.outputs not in (None, "logits", "probabilities"):
            raise InputError(f"`outputs` must be logits or probabilities. Received: outputs={self.outputs!r}")
        self._refuse_ignored()

    def _refuse_ignored(self):
        """Refuse what nothing would use, but the report would name."""
        measured = [section.name for section in self.sections]
        for field in dataclasses.fields(self):
            section, value = field.metadata["section"], getattr(self, field.name)
            if section not in (None, *measured) and value != field.default:
                raise InputError(
                    f"`{field.name}` applies to the section {section}: add it to `only`. "
                    f"Received: {field.name}={value!r}, only={self.only}"
                )
        if self.frost_textures is not None and self.corruptions != "regenerate":
            raise InputError(
                "`frost_textures` applies to regenerated corruptions only. "
                f"Received: frost_textures={str(self.frost_textures)!r}, corruptions={str(self.corruptions)!r}"
            )

    @property
    def sections(self):
        """The sections to measure, in the order of the report."""
        return [
            section for section in SECTIONS if self.only is None or section.name in self.only or section.name == "clean"
        ]

    def recorded(self):
        """The options as plain values, without those that do not affect the results."""
        return {
            field.name: _plain(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if field.name not in ("only", "output", "progress")
        }


def _plain(value):
    if isinstance(value, tuple | list):
        return list(value)
    return value if isinstance(value, int | float | str | None) else str(value)


Options.__doc__ = (Options.__doc__ or "").replace(
    "Raises:",
    "Args:\n"
    + "".join(f"        {field.name}: {field.metadata['help']}\n" for field in dataclasses.fields(Options))
    + "\n    Raises:",
)
