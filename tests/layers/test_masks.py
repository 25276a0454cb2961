"""A share and a box mix as the mask that they stand for."""

import numpy as np
import pytest
from keras import ops

from keras_mma import plan as plans
from keras_mma.layers import masks

HEIGHT, WIDTH = 9, 14


def draw(name, rng):
    if name == "share":
        return {"share": ops.convert_to_tensor(np.array([0.0, 0.3, 1.0, 0.77, 0.5], "float32"))}
    # The third box is empty, the fourth is the whole image.
    rows = [np.array([2, 0, 4, 0, 8], "int32"), np.array([5, 1, 4, HEIGHT, 9], "int32")]
    columns = [np.array([0, 13, 3, 0, 2], "int32"), np.array([7, 14, 9, WIDTH, 12], "int32")]
    return {"box": [[ops.convert_to_tensor(end) for end in side] for side in (rows, columns)]}


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "uint8", "int32"])
@pytest.mark.parametrize("name", ["share", "box"])
def test_every_form_mixes_as_its_mask(rng, name, dtype, data_format):
    images, partner = rng.integers(0, 256, (5, HEIGHT, WIDTH, 3)), np.array([3, 0, 4, 1, 2], "int32")
    drawn = draw(name, rng)
    mask = masks.describe(drawn, HEIGHT, WIDTH)[0]
    expected = ops.convert_to_numpy(mask) * images + (1 - ops.convert_to_numpy(mask)) * images[partner]
    images = ops.cast(ops.convert_to_tensor(images.astype("float32")), dtype)
    if data_format == "channels_first":
        images = ops.transpose(images, (0, 3, 1, 2))
    found = masks.mix(images, ops.convert_to_tensor(partner), drawn, data_format)
    assert found.dtype == images.dtype
    found = ops.convert_to_numpy(ops.cast(found, "float32"))
    found = found if data_format == "channels_last" else found.transpose(0, 2, 3, 1)
    tolerance = {"float32": 1e-3, "float16": 0.3, "bfloat16": 2.0}.get(dtype, 0.501) if name == "share" else 0
    np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.mark.parametrize("name", ["share", "box"])
def test_every_form_knows_its_mean_and_its_unmixed_rows(rng, name):
    drawn = draw(name, rng)
    mask, weight, is_unmixed = masks.describe(drawn, HEIGHT, WIDTH)
    assert tuple(mask.shape) == (5, HEIGHT, WIDTH, 1)
    np.testing.assert_allclose(ops.mean(mask, axis=(1, 2, 3)), weight, atol=1e-6)
    looked = plans.is_row_unmixed({"mask": mask})
    np.testing.assert_array_equal(ops.convert_to_numpy(is_unmixed), ops.convert_to_numpy(looked))
    assert ops.convert_to_numpy(is_unmixed).sum() == 1
    full = masks.describe({"mask": mask}, HEIGHT, WIDTH)
    np.testing.assert_allclose(ops.convert_to_numpy(full[1]), ops.convert_to_numpy(weight), atol=1e-6)
    np.testing.assert_array_equal(ops.convert_to_numpy(full[2]), ops.convert_to_numpy(is_unmixed))


@pytest.mark.parametrize("name", ["share", "box", "mask"])
def test_rows_are_left_alone_in_every_form(rng, name):
    drawn = {"mask": ops.zeros((5, HEIGHT, WIDTH, 1))} if name == "mask" else draw(name, rng)
    is_mixed = np.array([True, False, True, False, True])
    before = ops.convert_to_numpy(masks.describe(drawn, HEIGHT, WIDTH)[0])
    kept = masks.keep_unmixed({**drawn, "weight": ops.zeros((5,))}, ops.convert_to_tensor(is_mixed))
    mask, weight, _ = map(ops.convert_to_numpy, masks.describe(kept, HEIGHT, WIDTH))
    np.testing.assert_array_equal(mask[is_mixed], before[is_mixed])
    assert (mask[~is_mixed] == 1).all()
    np.testing.assert_array_equal(weight, ~is_mixed)


@pytest.mark.parametrize("drawn", [{}, {"weight": 1}, {"mask": 1, "share": 1}])
def test_a_host_that_draws_no_mask_or_two_is_told(drawn):
    with pytest.raises(ValueError, match=r"`draw` must return one of \['mask', 'share', 'box'\]. Received: \["):
        masks.form(drawn)
