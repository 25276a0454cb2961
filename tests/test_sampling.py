"""Statistics of the random draws."""

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
    # At alpha = 0.1, many draws are rounded to 1 in float32, so compare away from the ends.
    inside = draws[(draws > 1e-6) & (draws < 1 - 1e-6)].astype("float64")
    low, high = reference.cdf(1e-6), reference.cdf(1 - 1e-6)
    statistic, p = stats.kstest(inside, lambda x: (reference.cdf(x) - low) / (high - low))
    assert p > 1e-3, (statistic, p)


def test_the_kolmogorov_smirnov_test_detects_a_wrong_alpha():
    draws = ops.convert_to_numpy(sampling.beta((100_000,), 1.0, sampling.SeedGenerator(3)))
    assert stats.kstest(draws, stats.beta(1.05, 1.05).cdf).pvalue < 1e-3


def test_beta_compiles_with_xla(needs_tensorflow):
    import tensorflow as tf

    generator = sampling.SeedGenerator(3)
    compiled = tf.function(lambda: sampling.beta((64,), 0.3, generator), jit_compile=True)
    first, second = compiled().numpy(), compiled().numpy()
    assert np.isfinite(first).all() and not np.array_equal(first, second)


def test_beta_with_an_integer_seed_is_repeatable_and_uses_independent_uniforms():
    first = ops.convert_to_numpy(sampling.beta((50_000,), 1.0, 5))
    assert np.array_equal(first, ops.convert_to_numpy(sampling.beta((50_000,), 1.0, 5)))
    assert stats.kstest(first, "uniform").pvalue > 1e-3  # Beta(1, 1) is uniform, unless both uniforms are equal


def test_bernoulli_has_the_rate():
    drawn = ops.convert_to_numpy(sampling.bernoulli((40_000,), 0.3, sampling.SeedGenerator(2)))
    assert abs(drawn.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / drawn.size)
    assert ops.convert_to_numpy(sampling.bernoulli((1000,), 1.0, sampling.SeedGenerator(2))).all()
    assert not ops.convert_to_numpy(sampling.bernoulli((1000,), 0.0, sampling.SeedGenerator(2))).any()


def test_replicas_draw_independent_numbers(needs_tensorflow):
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        generator = sampling.SeedGenerator(1)
        stock = keras.random.SeedGenerator(1)

    def draws(seed):
        run = tf.function(lambda: strategy.run(lambda: sampling.uniform((1000,), seed)))
        return [value.numpy() for value in strategy.experimental_local_results(run())]

    stock_draws, own_draws = draws(stock), draws(generator)
    assert np.array_equal(*stock_draws)  # replicas with a stock generator repeat each other
    assert abs(np.corrcoef(*own_draws)[0, 1]) < 0.15
