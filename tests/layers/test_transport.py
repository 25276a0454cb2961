"""The transport of Puzzle Mix: against the exact assignment, a loop of the published algorithm, and pixel by pixel."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops
from scipy import optimize

import keras_mma
from keras_mma import layers
from keras_mma.layers import transport
from keras_mma.layers.mixers.puzzle_mix import moved_pixels
from tests import oracles
from tests.layers.mixers import to_numpy, training_plan
from tests.pictures import blobs, one_hot


def problems(rng, size, samples):
    """Saliency as blobs, as peaks and as noise, and masks of connected parts: float32 arrays (samples, blocks)."""
    saliency = blobs(rng, samples, size, size).mean(3) ** 3
    saliency[1::3] = rng.random(saliency[1::3].shape) ** 4
    peaks = rng.random(saliency[2::3].shape) ** 40
    saliency[2::3] = 0.02 + peaks / peaks.max((1, 2), keepdims=True)
    saliency /= saliency.sum((1, 2), keepdims=True)
    shown = blobs(rng, samples, size, size).mean(3)
    shown = shown > np.quantile(shown.reshape(samples, -1), rng.random(samples), axis=1).diagonal()[:, None, None]
    return tuple(values.reshape(samples, -1).astype("float32") for values in (saliency, shown))


def costs(saliency, shown, xi):
    """The cost of each block (rows) at each place (columns), of one sample, block by block."""
    size = int(len(saliency) ** 0.5)
    matrix = np.zeros((size**2, size**2))
    for (block, (i, j)), (place, (k, m)) in itertools.product(enumerate(np.ndindex(size, size)), repeat=2):
        distance = ((i - k) ** 2 + (j - m) ** 2) / (size - 1) ** 2
        matrix[block, place] = xi * distance - saliency[block] * shown[place]
    return matrix


def published(matrix):
    """The blocks at each place by the algorithm of the authors' code, continued until every block has a place."""
    matrix = matrix.copy()
    while True:
        blocks = {}
        for block, place in enumerate(matrix.argmin(1)):
            blocks.setdefault(place, []).append(block)
        if len(blocks) == len(matrix):
            return [blocks[place][0] for place in range(len(matrix))]
        for place, rivals in blocks.items():
            winner = min(rivals, key=lambda block, place=place: matrix[block, place])
            for block in rivals:
                if block != winner:
                    matrix[block, place] = np.inf


def assign(saliency, shown, xi):
    return to_numpy(transport.assign(*map(ops.convert_to_tensor, (saliency, shown)), xi))


@pytest.mark.parametrize(("size", "xi", "gap"), [(2, 0.1, 0.001), (4, 0.8, 0.05), (4, 0.1, 0.05), (8, 0.8, 0.05)])
def test_the_cost_is_close_to_that_of_the_exact_assignment(size, xi, gap, rng):
    """The gap is a share of what the exact assignment gains over leaving the blocks where they are."""
    saliency, shown = problems(rng, size, 90)
    blocks, places = assign(saliency, shown, xi), np.arange(size**2)
    reached, lowest, before, theirs = [], [], [], []
    for sample in range(90):
        matrix = costs(saliency[sample], shown[sample], xi)
        reached.append(matrix[blocks[sample], places].sum())
        lowest.append(matrix[optimize.linear_sum_assignment(matrix)].sum())
        before.append(np.trace(matrix))
        theirs.append(matrix[published(matrix), places].sum())
    reached, lowest, before, theirs = map(np.array, (reached, lowest, before, theirs))
    assert (before - lowest).max() > 0.03 and (reached > lowest - 1e-5).all()
    assert (reached - lowest).sum() < gap * (before - lowest).sum()
    assert (reached < before + 1e-5).all() and (reached - lowest).sum() < 0.2 * (theirs - lowest).sum()


@pytest.mark.parametrize("size", [2, 3, 4, 8])
def test_blocks_are_a_permutation_and_stay_where_nothing_can_be_gained(size, rng):
    saliency, shown = problems(rng, size, 30)
    blocks = assign(saliency, shown, 1e-4)
    np.testing.assert_array_equal(np.sort(blocks), np.tile(np.arange(size**2), (30, 1)))
    assert size == 2 or (blocks != np.arange(size**2)).any(1).mean() > 0.5
    in_place = np.tile(np.arange(size**2), (30, 1))
    order = np.sort(saliency)[:, ::-1], np.sort(shown)[:, ::-1]  # the most salient blocks are those that are shown
    for case in (
        order,
        (saliency, np.ones_like(shown)),
        (saliency, np.zeros_like(shown)),
        (0 * saliency + 0.01, shown),
    ):
        np.testing.assert_array_equal(assign(*case, 1e-4), in_place)
    np.testing.assert_array_equal(assign(saliency, shown, 100.0), in_place)


def test_a_salient_block_goes_to_the_nearest_place_that_shows_it():
    saliency, shown = np.zeros((1, 16), "float32"), np.zeros((1, 16), "float32")
    saliency[0, 5], shown[0, [6, 15]] = 1.0, 1.0
    expected = np.arange(16)
    expected[[5, 6]] = 6, 5
    np.testing.assert_array_equal(assign(saliency, shown, 0.8)[0], expected)


def moved(image, blocks, size):
    """An image of which each place of a grid shows another block, pixel by pixel."""
    height, width = image.shape[:2]
    result = np.zeros_like(image)
    rows, columns = (
        [[i for i in range(length) if int((i + 0.5) * size / length) == block] for block in range(size)]
        for length in (height, width)
    )
    for place, block in enumerate(blocks):
        for (i, y), (j, x) in itertools.product(enumerate(rows[place // size]), enumerate(columns[place % size])):
            from_rows, from_columns = rows[block // size], columns[block % size]
            source = from_rows[min(i, len(from_rows) - 1)], from_columns[min(j, len(from_columns) - 1)]
            result[y, x] = image[source]
    return result


@pytest.mark.parametrize(("height", "width", "size"), [(8, 12, 4), (13, 9, 4), (16, 20, 8), (7, 11, 2)])
def test_pixels_are_moved_with_their_blocks(height, width, size, rng):
    blocks = np.stack([np.arange(size**2), *(rng.permutation(size**2) for _ in range(3))]).astype("int32")
    source = to_numpy(transport.pixels(ops.convert_to_tensor(blocks), height, width))
    image = rng.random((height, width, 3))
    for sample in range(4):
        expected = moved(image, blocks[sample], size)
        np.testing.assert_array_equal(image.reshape(-1, 3)[source[sample]], expected)
    np.testing.assert_array_equal(source[0].ravel(), np.arange(height * width))


def test_a_grid_finer_than_the_image_shows_its_pixels():
    blocks = np.stack([np.arange(64), np.arange(64)[::-1]]).astype("int32")
    source = to_numpy(transport.pixels(ops.convert_to_tensor(blocks), 5, 5))
    np.testing.assert_array_equal(source[0].ravel(), np.arange(25))
    assert source.min() >= 0 and source.max() < 25


def red(images):
    return ops.cast(images[..., :1], "float32") ** 3


SETTINGS = {"transport": True, "xi": 1e-3, "eta": 0.0, "grids": (4,), "detector": red, "partner": "roll", "seed": 2}


def mosaics(rng):
    """Images of 16 pixels, noise in 4 x 4 blocks of different saliency."""
    levels = np.kron(rng.random((8, 4, 4)), np.ones((1, 4, 4)))[..., None]
    return (levels * rng.uniform(0.5, 1.0, (8, 16, 16, 3))).astype("float32")


@pytest.fixture
def assigned(monkeypatch):
    """The saliency, the shown blocks and the result of each assignment of a layer: pairs of the partner and its own."""
    calls = []

    def recorded(saliency, shown, xi, assign=transport.assign):
        blocks = assign(saliency, shown, xi)
        calls.append([to_numpy(values).reshape(-1, 2, values.shape[1]) for values in (saliency, shown, blocks)])
        return blocks

    monkeypatch.setattr(transport, "assign", recorded)
    monkeypatch.setattr(layers.Mixer, "is_pure", False)  # compiled calls have no values
    return calls


def moved_images(images, plan, assigned):
    """The own and the partner's images with their blocks moved as assigned, whose arguments are checked."""
    saliency, shown, blocks = assigned
    expected = np.stack([oracles.area_pool(image[..., 0] ** 3, 4, 4).ravel() for image in images])
    expected /= expected.sum(1, keepdims=True)
    shares = plan["mask"][:, 2::4, 2::4, 0].reshape(-1, 16)
    np.testing.assert_allclose(saliency, np.stack([expected[plan["partner"]], expected], 1), atol=1e-6)
    np.testing.assert_array_equal(shown, np.stack([shares < 1, shares > 0], 1))
    assert ((blocks != np.arange(16)).any(2).sum(0) >= 4).all()
    pairs = (images, blocks[:, 1]), (images[plan["partner"]], blocks[:, 0])
    return [np.stack([moved(*pair, 4) for pair in zip(values, each, strict=True)]) for values, each in pairs]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_images_labels_and_segmentation_masks_equal_the_loop(data_format, rng, assigned):
    images, labels = mosaics(rng), one_hot(rng)
    first = data_format == "channels_first"
    given = images.transpose(0, 3, 1, 2) if first else images
    _, plan = training_plan(layers.PuzzleMix(**SETTINGS, data_format=data_format), given)
    batch = {"images": given, "labels": labels, "segmentation_masks": images}
    out = to_numpy(layers.PuzzleMix(**SETTINGS, data_format=data_format)(batch))
    own, other = moved_images(images, plan, assigned[-1])
    expected = plan["mask"] * own + (1 - plan["mask"]) * other
    mixed = out["images"].transpose(0, 2, 3, 1) if first else out["images"]
    np.testing.assert_allclose(mixed, expected, atol=1e-6)
    np.testing.assert_array_equal(out["segmentation_masks"], mixed)
    share = plan["mask"].mean((1, 2, 3))[:, None]
    np.testing.assert_allclose(out["labels"], share * labels + (1 - share) * labels[plan["partner"]], atol=1e-6)


def test_the_label_by_saliency_counts_the_saliency_that_moved(rng, assigned):
    images = mosaics(rng)
    _, plan = training_plan(layers.PuzzleMix(**SETTINGS, label="saliency"), images)
    own, other = moved_images(images, plan, assigned[-1])
    kept, pasted = (
        (values[..., :1] ** 3 * share).sum((1, 2, 3)) / (values[..., :1] ** 3).sum((1, 2, 3))
        for values, share in ((own, plan["mask"]), (other, 1 - plan["mask"]))
    )
    np.testing.assert_allclose(plan["weight"], kept / (kept + pasted), atol=1e-5)


def test_the_plan_is_that_without_transport_and_more_saliency_is_shown(rng):
    images = blobs(rng, 16, 16, 16).astype("float32")
    plain, plan = training_plan(layers.PuzzleMix(**{**SETTINGS, "transport": False}), images)
    mixed, moved_plan = training_plan(layers.PuzzleMix(**SETTINGS), images)
    keras.tree.map_structure(np.testing.assert_array_equal, plan, moved_plan)
    is_mixed = (plan["mask"].min((1, 2, 3)) < 1) & (plan["mask"].max((1, 2, 3)) > 0)
    shown = (mixed[..., 0] ** 3).sum((1, 2)) - (plain[..., 0] ** 3).sum((1, 2))
    assert is_mixed.sum() > 4 and shown[is_mixed].mean() > 0
    np.testing.assert_array_equal(mixed[~is_mixed], plain[~is_mixed])


def test_samples_that_are_not_mixed_or_their_own_partners_stay_as_they_are(rng):
    images = rng.random((8, 16, 16, 3)).astype("float32")
    mixed, plan = training_plan(layers.PuzzleMix(**{**SETTINGS, "probability": 0.5}), images)
    is_mixed = plan["mask"].min((1, 2, 3)) < 1
    assert 0 < is_mixed.sum() < 8
    np.testing.assert_array_equal(mixed[~is_mixed], images[~is_mixed])
    assert (np.abs(mixed - images).max((1, 2, 3))[is_mixed] > 0).all()
    shares = rng.integers(0, 3, (8, 4, 4, 1)).astype("float32") / 2
    sources = moved_pixels(
        *map(ops.convert_to_tensor, (shares, np.arange(8, dtype="int32"), images[..., :1])), 1e-3, 16, 16
    )
    for source in to_numpy(sources):
        np.testing.assert_array_equal(source.reshape(8, -1), np.tile(np.arange(256), (8, 1)))


def test_feature_sites_choices_and_maps_in_a_model_are_refused(rng):
    match = r"`transport` must be False when `sites` has feature sites.* Received: transport=True, sites=\(0, 1\)"
    with pytest.raises(ValueError, match=match):
        layers.PuzzleMix(transport=True, sites=(0, 1))
    with pytest.raises(ValueError, match=r"`xi` must be a positive, finite number. Received: xi=0"):
        layers.PuzzleMix(xi=0)
    with pytest.raises(ValueError, match=r"`transport` must be True or False. Received: transport=1"):
        layers.PuzzleMix(transport=1)
    with pytest.raises(ValueError, match=r"`mixers` must not move or resize the image. Received: 'puzzle_mix"):
        layers.RandomChoice([layers.PuzzleMix(transport=True, grids=(2,))])
    images, mixer = rng.random((4, 8, 8, 3)).astype("float32"), layers.PuzzleMix(transport=True, grids=(2,))
    inputs = keras.Input((8, 8, 3))
    x, plan = mixer(inputs)
    model = keras_mma.MixModel(inputs, (keras.layers.Conv2D(2, 1)(x), plan))
    model.compile("sgd", "mse", run_eagerly=True)
    with pytest.raises(ValueError, match="must not be maps for the mixer 'puzzle_mix"):
        model.fit(images, np.zeros((4, 8, 8, 2)), verbose=0)


def test_the_settings_are_saved():
    mixer = layers.PuzzleMix(transport=True, xi=0.3)
    again = layers.PuzzleMix.from_config(mixer.get_config())
    assert again.transport is True and again.is_input_only and again.xi == 0.3
    old = layers.PuzzleMix().get_config()
    del old["transport"], old["xi"]
    assert layers.PuzzleMix.from_config(old).transport is False
