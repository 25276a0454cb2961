"""SaliencyMix: boxes, patches and labels equal the loops."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

from keras_mma import layers, sampling
from keras_mma.layers import masks
from keras_mma.layers.label_rules import covered_share
from keras_mma.layers.mixers.saliency_mix import SCHEMES, peak
from tests import oracles
from tests.layers.mixers import repeatedly, training_plan
from tests.pictures import blobs

LAMS = np.array([0.0, 0.05, 0.2, 0.37, 0.5, 0.8, 0.95, 1.0], "float32")


@pytest.fixture
def fixed_lams(monkeypatch):
    monkeypatch.setattr(sampling, "beta", lambda shape, alpha, seed: ops.convert_to_tensor(LAMS))


def red(images):
    """A detector that returns the first channel."""
    return images[..., :1]


def images_without_ties(rng):
    """Images whose first channel has no two equal pixels."""
    images = rng.random((8, 16, 20, 3)).astype("float32")
    for image in images:
        image[..., 0] = rng.permutation(320).reshape(16, 20)
    return images


@pytest.mark.parametrize("border", ["shift", "clip"])
def test_boxes_equal_the_loop(rng, border):
    height, width = 11, 17
    centers = np.stack([rng.integers(0, height, 200), rng.integers(0, width, 200)], 1).astype("int32")
    lams = rng.random(200).astype("float32")
    lengths = masks.box_size(ops.convert_to_tensor(lams), height, width)
    tensor = ops.convert_to_tensor(centers)
    bounds = [masks.interval(tensor[:, a], lengths[a], (height, width)[a], border) for a in (0, 1)]
    rasterized = ops.convert_to_numpy(masks.Box(*bounds).rasterize(height, width))
    for lam, (y, x), mask in zip(lams, centers, rasterized, strict=True):
        (top, bottom), (left, right) = oracles.box(float(lam), (y, x), height, width, border)
        expected = np.ones((height, width, 1))
        expected[top:bottom, left:right] = 0
        np.testing.assert_array_equal(mask, expected)
        if border == "shift" and bottom > top and right > left:
            assert top <= y < bottom and left <= x < right


@pytest.mark.parametrize("border", ["shift", "clip"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_patch_goes_from_the_source_to_the_target(rng, fixed_lams, scheme, border):
    images = images_without_ties(rng)
    mixer = layers.SaliencyMix(detector=red, scheme=scheme, border=border, seed=1)
    mixed, plan = training_plan(mixer, images)
    find = {"salient": np.argmax, "nonsalient": np.argmin}
    from_extreme, to_extreme = scheme.split("_to_")
    for sample, lam in enumerate(LAMS):
        partner = images[plan["partner"][sample]]
        source = np.unravel_index(find[from_extreme](partner[..., 0]), (16, 20))
        if to_extreme == "corresponding":
            target = source
        else:
            target = np.unravel_index(find[to_extreme](images[sample, ..., 0]), (16, 20))
        from_bounds, to_bounds = (oracles.box(float(lam), center, 16, 20, border) for center in (source, target))
        expected, mask = images[sample].copy(), np.ones((16, 20, 1))
        if border == "shift":
            shift = [to[0] - origin[0] for origin, to in zip(from_bounds, to_bounds, strict=True)]
        else:
            shift = np.subtract(target, source)
        for y, x in itertools.product(range(*to_bounds[0]), range(*to_bounds[1])):
            origin = (y - shift[0], x - shift[1])
            if all(start <= place < end for place, (start, end) in zip(origin, from_bounds, strict=True)):
                expected[y, x], mask[y, x] = partner[origin], 0
        np.testing.assert_array_equal(plan["mask"][sample], mask)
        np.testing.assert_allclose(mixed[sample], expected, atol=1e-4)
        if mask.min() == 0:
            assert mask[tuple(target)] == 0
            if border == "clip":
                np.testing.assert_allclose(mixed[sample][tuple(target)], partner[tuple(source)], atol=1e-4)


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if not scheme.endswith("corresponding")])
def test_segmentation_masks_move_with_the_box(rng, fixed_lams, scheme, rank):
    """Masks that are the first channel of the images stay that."""
    images = images_without_ties(rng)
    segmentation = images[..., 0].astype("int32") if rank == 3 else images[..., :1]
    batch = {"images": images, "segmentation_masks": segmentation}
    mixed = layers.SaliencyMix(detector=red, scheme=scheme, seed=1)(batch, training=True)
    received = ops.convert_to_numpy(mixed["segmentation_masks"])
    expected = ops.convert_to_numpy(mixed["images"])[..., 0]
    assert (expected != images[..., 0]).any()
    np.testing.assert_array_equal(received if rank == 3 else received[..., 0], expected)


def test_the_weight_is_that_of_the_rasterized_box_and_not_lam(rng, fixed_lams):
    _, plan = training_plan(layers.SaliencyMix(detector=red, seed=1), images_without_ties(rng))
    is_mixed = plan["partner"] != np.arange(8)
    assert np.abs(plan["weight"] - LAMS)[is_mixed].max() > 0.01
    np.testing.assert_allclose(plan["weight"], plan["mask"].mean((1, 2, 3)), atol=1e-6)


def test_the_box_of_a_batch_is_that_of_its_first_sample(rng, fixed_lams):
    images = images_without_ties(rng)
    _, plan = training_plan(layers.SaliencyMix(detector=red, box="batch", border="clip", seed=4), images)
    source = np.unravel_index(np.argmax(images[plan["partner"][0], ..., 0]), (16, 20))
    (top, bottom), (left, right) = oracles.box(float(LAMS[0]), source, 16, 20, "clip")
    expected = np.ones((8, 16, 20, 1))
    expected[:, top:bottom, left:right] = 0
    np.testing.assert_array_equal(plan["mask"], expected)


@pytest.mark.parametrize("scheme", ["salient_to_corresponding", "salient_to_nonsalient"])
def test_the_calibrated_label_equals_the_loop(rng, fixed_lams, scheme):
    images = images_without_ties(rng)
    mixer = layers.SaliencyMix(detector=red, label="saliency", scheme=scheme, seed=1)
    _, plan = training_plan(mixer, images)
    for sample, lam in enumerate(LAMS):
        partner = images[plan["partner"][sample], ..., 0]
        kept = sum(images[sample, y, x, 0] for y, x in np.argwhere(plan["mask"][sample, ..., 0] == 1))
        inside = np.argwhere(plan["mask"][sample, ..., 0] == 0)
        pasted = 0.0
        if len(inside):
            source = np.unravel_index(partner.argmax(), (16, 20))
            (top, _), (left, _) = oracles.box(float(lam), source, 16, 20, "shift")
            offset = np.array([top, left]) - inside.min(0)
            pasted = (
                sum(partner[tuple(pixel + offset)] for pixel in inside)
                if scheme != "salient_to_corresponding"
                else sum(partner[tuple(pixel)] for pixel in inside)
            )
        kept, pasted = kept / images[sample, ..., 0].sum(), pasted / partner.sum()
        expected = kept / (kept + pasted) if plan["partner"][sample] != sample or len(inside) else 1.0
        np.testing.assert_allclose(plan["weight"][sample], expected, atol=1e-5)


def test_the_share_of_a_zero_map_is_the_area(rng):
    mask = (rng.random((3, 6, 7, 1)) < 0.4).astype("float32")
    share = ops.convert_to_numpy(covered_share(ops.zeros((3, 6, 7, 1)), mask))
    np.testing.assert_allclose(share, mask.mean((1, 2, 3)), atol=1e-6)


def test_ties_are_broken_uniformly():
    maps = np.zeros((6000, 2, 4, 1), "float32")
    for y, x in ((0, 1), (1, 0), (1, 3)):
        maps[:, y, x] = 1.0
    peaks = ops.convert_to_numpy(peak(maps, sampling.uniform((6000,), sampling.SeedGenerator(1))))
    counts = np.bincount(peaks @ [4, 1], minlength=8)
    assert counts[[1, 4, 7]].sum() == 6000 and counts[[1, 4, 7]].min() > 1850


def test_maps_of_a_detector_are_checked(rng):
    for detector in (lambda x: x, lambda x: x[:, ::2, ::2, :1], lambda x: x[..., 0]):
        with pytest.raises(ValueError, match=r"`detector` must return maps of shape \(8, 16, 20, 1\). Received: shape"):
            layers.SaliencyMix(detector=detector)(blobs(rng), training=True)


def test_numpy_numbers_are_accepted(rng):
    mixer = layers.SaliencyMix(alpha=np.float32(0.5), sites=np.arange(2), num_classes=np.int64(3))
    assert mixer.sites == (0, 1) and mixer.get_config()["num_classes"] == 3


def test_config_round_trip_with_a_callable_detector():
    @keras.saving.register_keras_serializable("keras_mma_tests")
    def brightness(images):
        return ops.mean(images, -1, keepdims=True)

    layer = layers.SaliencyMix(detector=brightness)
    copy = layers.SaliencyMix.from_config(layer.get_config())
    assert copy.detector is brightness


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"detector": "edges"}, "`detector` must be one of .* Received: detector='edges'"),
        ({"scheme": "salient"}, "`scheme` must be one of .* Received: scheme='salient'"),
        ({"border": "wrap"}, "`border` must be one of .* Received: border='wrap'"),
        ({"box": "row"}, "`box` must be one of .* Received: box='row'"),
        ({"label": "lambda"}, "`label` must be one of .* Received: label='lambda'"),
    ],
)
def test_unknown_options_raise(arguments, match):
    with pytest.raises(ValueError, match=match):
        layers.SaliencyMix(**arguments)


def test_numpy_and_tensor_images_have_the_same_plan(rng):
    images = blobs(rng)
    of_numpy = training_plan(layers.SaliencyMix(seed=1), images)[1]
    of_tensor = training_plan(layers.SaliencyMix(seed=1), ops.convert_to_tensor(images))[1]
    keras.tree.map_structure(np.testing.assert_array_equal, of_numpy, of_tensor)


def test_one_box_for_the_batch_mixes_the_whole_batch_or_none_of_it(rng):
    step = repeatedly(layers.SaliencyMix(box="batch", probability=0.5, seed=1), blobs(rng, 16))
    shares = []
    for _ in range(40):
        _, plan = step()
        unmixed = plan["mask"].min((1, 2, 3)) == 1
        assert unmixed.all() or not unmixed.any()
        shares.append(not unmixed.all())
    assert stats.binomtest(sum(shares), 40, 0.5).pvalue > 1e-3


@pytest.mark.parametrize("ties", ["random", "first"])
def test_ties_are_broken_at_random_or_by_the_first_maximum(rng, ties):
    def flat(images):
        saliency = np.zeros((8, 16, 20, 1), "float32")
        saliency[:, 3, 5] = saliency[:, 3, 9] = saliency[:, 12, 2] = 1
        return ops.convert_to_tensor(saliency)

    mixer = layers.SaliencyMix(detector=flat, ties=ties, alpha=50.0, seed=1)
    peaks = set()
    for _ in range(5):
        position = mixer._locate(mixer.saliency_maps(ops.convert_to_tensor(blobs(rng, 8))), "max")
        peaks |= {tuple(map(int, row)) for row in ops.convert_to_numpy(position)}
    assert peaks == ({(3, 5)} if ties == "first" else {(3, 5), (3, 9), (12, 2)})
