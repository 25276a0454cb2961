"""Statistics of the draws."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

from keras_mma import sampling


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 2.0, 8.0])
def test_beta_has_the_moments_and_the_distribution(alpha):
    draws = ops.convert_to_numpy(sampling.beta((100_000,), alpha, sampling.SeedGenerator(3)))
    assert draws.dtype == "float32" and draws.min() >= 0 and draws.max() <= 1
    reference = stats.beta(alpha, alpha)
    for order in (1, 2, 3, 4):
        expected = reference.moment(order)
        error = np.sqrt((reference.moment(2 * order) - expected**2) / draws.size)
        assert abs(np.mean(draws.astype("float64") ** order) - expected) < 4 * error
    # At alpha = 0.1 many draws lie nearer to 1 than float32 can tell: compare inside.
    inside = draws[(draws > 1e-6) & (draws < 1 - 1e-6)].astype("float64")
    low, high = reference.cdf(1e-6), reference.cdf(1 - 1e-6)
    statistic, p = stats.kstest(inside, lambda x: (reference.cdf(x) - low) / (high - low))
    assert p > 1e-3, (statistic, p)


def test_ks_would_notice_a_wrong_parameter():
    draws = ops.convert_to_numpy(sampling.beta((100_000,), 1.0, sampling.SeedGenerator(3)))
    assert stats.kstest(draws, stats.beta(1.05, 1.05).cdf).pvalue < 1e-3


def test_beta_draws_under_xla(needs_tensorflow):
    import tensorflow as tf

    generator = sampling.SeedGenerator(3)
    compiled = tf.function(lambda: sampling.beta((64,), 0.3, generator), jit_compile=True)
    first, second = compiled().numpy(), compiled().numpy()
    assert np.isfinite(first).all() and not np.array_equal(first, second)


def test_beta_with_an_int_seed_repeats_and_uses_two_different_uniforms():
    first = ops.convert_to_numpy(sampling.beta((50_000,), 1.0, 5))
    assert np.array_equal(first, ops.convert_to_numpy(sampling.beta((50_000,), 1.0, 5)))
    assert stats.kstest(first, "uniform").pvalue > 1e-3  # Beta(1, 1); equal U and V would fail


def test_bernoulli_rate():
    drawn = ops.convert_to_numpy(sampling.bernoulli((40_000,), 0.3, sampling.SeedGenerator(2)))
    assert abs(drawn.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / drawn.size)
    assert ops.convert_to_numpy(sampling.bernoulli((1000,), 1.0, sampling.SeedGenerator(2))).all()
    assert not ops.convert_to_numpy(sampling.bernoulli((1000,), 0.0, sampling.SeedGenerator(2))).any()


def test_replicas_draw_different_numbers(needs_tensorflow):
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        generator = sampling.SeedGenerator(1)
        stock = keras.random.SeedGenerator(1)

    def draws(seed):
        run = tf.function(lambda: strategy.run(lambda: sampling.uniform((1000,), seed)))
        return [value.numpy() for value in strategy.experimental_local_results(run())]

    same, different = draws(stock), draws(generator)
    assert np.array_equal(*same)  # the trap
    assert abs(np.corrcoef(*different)[0, 1]) < 0.15
