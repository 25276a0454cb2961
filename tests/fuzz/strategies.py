"""Random settings of mixers, batches and networks, valid and invalid ones, for Hypothesis."""

import inspect
import typing

import numpy as np
from hypothesis import strategies as st

from keras_mma import layers, saliency
from tests.pictures import blobs

DTYPES = ("uint8", "int16", "int32", "float16", "float32", "float64")
RANGES = ("bytes", "unit", "standardized", "constant", "large")
LABELS = ("one_hot", "soft", "indices", "column", "heads", "named")
FORMS = ("pair", "triple", "dict", "arguments", "tfds")

_alphas = st.sampled_from([1e-3, 0.2, 1.0, 4.0, 100.0]) | st.floats(-0.2, 5.0)
_counts = st.integers(0, 9)
_sides = st.integers(1, 9) | st.integers(0, 9)


def _optional(**values):
    return st.fixed_dictionaries({}, optional=values)


_pairs = st.tuples(st.floats(0.01, 0.5), st.floats(0.5, 1.0)) | st.tuples(st.floats(-0.2, 1.2), st.floats(-0.2, 1.2))
_detectors = st.sampled_from([*saliency.names()] * 4 + [None, "gradient", "no such"])
#: Arguments of each mixer, some of them out of range.
OWN = {
    layers.MixUp: dict(alpha=_alphas, per=st.sampled_from(["sample", "batch"] * 4 + ["step"])),
    layers.CutMix: dict(
        alpha=_alphas,
        per=st.sampled_from(["sample", "batch"]),
        border=st.sampled_from(["clip", "inside"] * 4 + ["shift"]),
    ),
    layers.SaliencyMix: dict(
        alpha=_alphas,
        scheme=st.sampled_from(
            [
                "salient_to_corresponding",
                "salient_to_salient",
                "salient_to_nonsalient",
                "nonsalient_to_salient",
                "nonsalient_to_nonsalient",
            ]
        ),
        border=st.sampled_from(["shift", "clip"] * 4 + ["inside"]),
        box=st.sampled_from(["sample", "batch"]),
        ties=st.sampled_from(["random", "first"]),
        detector=_detectors,
    ),
    layers.SaliencyGrafting: dict(
        alpha=_alphas,
        grid=_sides,
        temperature=st.floats(-0.05, 3.0),
        threshold=st.none() | st.floats(-0.05, 1.05),
        norm=st.sampled_from([1, 2, 1, 2, 1, 2, 3]),
        detector=_detectors,
    ),
    layers.GuidedMixup: dict(blur_sigma=st.floats(-0.1, 6.0), detector=_detectors),
    layers.RandomChoice: dict(
        mixers=st.lists(st.sampled_from([layers.MixUp, layers.GridMix, layers.SaliencyMix]), min_size=1, max_size=3),
        probabilities=st.none() | st.sampled_from([[1.0], [0.25, 0.75], [0.0, 0.5, 0.5]]),
        per=st.sampled_from(["step", "sample"]),
    ),
    layers.PuzzleMix: dict(
        alpha=_alphas,
        grids=st.lists(st.sampled_from([1, 2, 3, 4, 8]), min_size=1, max_size=2),
        beta=st.floats(-0.05, 2.0),
        gamma=st.floats(-0.05, 2.0),
        eta=st.floats(-0.05, 2.0),
        transport=st.booleans(),
        xi=st.floats(-0.02, 2.0),
        detector=_detectors,
    ),
    layers.AttentiveMix: dict(grid=_sides, count=st.none() | st.integers(0, 40), alpha=_alphas, detector=_detectors),
    layers.GMix: dict(alpha=_alphas),
    layers.HMix: dict(alpha=_alphas, ratio=st.floats(-0.02, 1.02)),
    layers.SmoothMix: dict(sigma=_pairs),
    layers.FMix: dict(alpha=_alphas, decay=st.floats(-0.2, 6.0)),
    layers.GridMix: dict(alpha=_alphas, grid=_sides),
    layers.ResizeMix: dict(scale=_pairs),
}
SHARED = dict(
    probability=st.sampled_from([0.0, 0.5, 1.0]) | st.floats(-0.02, 1.02),
    partner=st.sampled_from(["shuffle", "derangement", "roll"] * 4 + ["distance"]),
    label=st.sampled_from(["area"] * 9 + ["saliency"]),
    ignore_zero_weight=st.sampled_from([False] * 9 + [True]),
    detector=_detectors,
    detector_size=st.integers(1, 40),
)
#: Arguments of mixers that the tests themselves pass, or that need a network.
PASSED = {"sites", "site_weights", "data_format", "num_classes", "seed", "attribution_layer", "requires_mix_model"}


@st.composite
def mixers(draw, sites=(0,), classes=tuple(OWN)):
    """(class, settings) of a mixer; the mixers of a `RandomChoice` are classes too."""
    cls = draw(st.sampled_from(classes))
    settings = {
        **draw(_optional(**SHARED)),
        **draw(_optional(**OWN[cls])),
        "seed": draw(st.integers(0, 2**31 - 1)),
        "sites": sites,
    }
    if cls is layers.RandomChoice:  # refuses both
        settings.pop("detector", None)
    default = inspect.signature(cls).parameters.get("detector")
    if settings.get("detector", default and default.default) is None:
        settings.pop("detector_size", None)  # refused
    return cls, settings


class Images(typing.NamedTuple):
    """Images as the layers take them, and as (batch, height, width, channels)."""

    values: np.ndarray
    data_format: str
    last: np.ndarray


@st.composite
def images(draw, dtypes=DTYPES):
    """`Images` of 0 to 9 samples, 1 to 70 pixels a side and 1 to 5 channels."""
    sides = st.integers(1, 24) | st.integers(1, 70)
    size, height, width, channels = draw(_counts), draw(sides), draw(sides), draw(st.integers(1, 5))
    dtype, span = draw(st.sampled_from(dtypes)), draw(st.sampled_from(RANGES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = blobs(rng, size, height, width, channels).astype("float64")
    is_float = dtype.startswith("float")
    if span == "constant":
        values[:] = rng.integers(0, 255)
    elif span == "large":
        values *= {"uint8": 1, "int16": 100, "float16": 200}.get(dtype, 4000)
    elif span == "unit" and is_float:
        values /= 255
    elif span == "standardized" and dtype != "uint8":
        values = (values - 100) / (50 if is_float else 1)
    last = values.astype(dtype)
    data_format = draw(st.sampled_from(["channels_last", "channels_first"]))
    return Images(last if data_format == "channels_last" else last.transpose(0, 3, 1, 2), data_format, last)


class Batch(typing.NamedTuple):
    """A labeled batch, and the labels of each head as float rows."""

    images: Images
    form: str
    labels: object
    sample_weight: np.ndarray | None
    rows: list
    num_classes: int | None


def _labels(kind, rng, size, classes):
    indices = rng.integers(0, classes, size)
    rows = np.eye(classes, dtype="float32")[indices]
    if classes == 1 and kind in ("indices", "column"):  # labels 0 and 1 of one output
        indices = rng.integers(0, 2, size)
        rows = indices[:, None].astype("float32")
    if kind in ("indices", "column"):
        dtype = rng.choice(["int32", "int64", "uint8"])
        return (indices if kind == "indices" else indices[:, None]).astype(dtype), rows
    if kind == "soft":
        rows = rng.dirichlet(np.ones(classes), size).astype("float32")
    return rows, rows


@st.composite
def batches(draw):
    """A `Batch` in any form."""
    pictures, form, kind = draw(images()), draw(st.sampled_from(FORMS)), draw(st.sampled_from(LABELS))
    # Labels of one column are read as those of one output only if `num_classes=1` says so.
    classes = draw(st.integers(2 if kind in ("heads", "named") else 1, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = len(pictures.last)
    if kind in ("heads", "named"):
        (first, a), (second, b) = (_labels(draw(st.sampled_from(LABELS[:2])), rng, size, n) for n in (classes, 3))
        labels, rows = ([first, second] if kind == "heads" else {"first": first, "second": second}), [a, b]
    else:
        labels, own = _labels(kind, rng, size, classes)
        rows = [own]
    has_weight = form == "triple" or (form in ("dict", "arguments", "tfds") and draw(st.booleans()))
    weight = rng.uniform(0, 2, size).astype("float32") if has_weight else None
    needs_classes = kind in ("indices", "column") or classes == 1
    num_classes = classes if needs_classes else draw(st.none() | st.just(classes)) if kind != "heads" else None
    return Batch(pictures, form, labels, weight, rows, num_classes if kind != "named" else None)


def call(mixer, batch):
    """(images, labels, sample weights or `None`) that a mixer returns for a batch, read from the form of the batch."""
    values, labels, weight = batch.images.values, batch.labels, batch.sample_weight
    if batch.form in ("pair", "triple"):
        mixed = mixer((values, labels) if batch.form == "pair" else (values, labels, weight))
        assert isinstance(mixed, tuple)
        return (*mixed, None) if batch.form == "pair" else mixed
    if batch.form == "arguments":
        mixed = mixer(values, labels) if weight is None else mixer(values, labels, weight)
        return (*mixed, None) if weight is None else mixed
    names = ("images", "labels") if batch.form == "dict" else ("image", "label")
    sent = {names[0]: values, names[1]: labels, "id": np.arange(len(values))}
    if weight is not None:
        sent["sample_weight"] = weight
    mixed = mixer(sent)
    assert list(mixed) == list(sent)
    np.testing.assert_array_equal(mixed["id"], sent["id"])
    return mixed[names[0]], mixed[names[1]], mixed.get("sample_weight")
