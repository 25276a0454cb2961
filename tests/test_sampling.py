"""Statistics of the random draws."""

import pickle
import threading

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


def test_neighboring_seeds_share_no_draws():
    generators = [sampling.SeedGenerator(seed) for seed in range(8)]
    draws = [tuple(ops.convert_to_numpy(sampling.uniform((4,), each))) for each in generators for _ in range(16)]
    assert len(set(draws)) == len(draws)


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


def state_of(generator):
    return ops.convert_to_numpy(generator.state.value).tolist()


def test_draws_are_float32_with_the_bounds_that_are_asked_for(half_precision):
    generator = sampling.SeedGenerator(4)
    uniform = sampling.uniform((4000,), generator, minval=2.0, maxval=5.0)
    normal = sampling.normal((4000,), generator)
    for drawn in (uniform, normal, sampling.uniform((2,), 3), sampling.beta((2,), 1.0, 3)):
        assert keras.backend.standardize_dtype(drawn.dtype) == "float32"
    uniform, normal = ops.convert_to_numpy(uniform), ops.convert_to_numpy(normal)
    assert 2 <= uniform.min() < 2.1 and 4.9 < uniform.max() < 5
    assert stats.kstest(normal, "norm").pvalue > 1e-3
    default = ops.convert_to_numpy(sampling.uniform((4000,), generator))
    assert 0 <= default.min() < 0.1 and 0.9 < default.max() < 1


@pytest.mark.parametrize("weights", [None, (2.0, 1.0, 5.0)])
def test_integers_are_chosen_with_their_weights(weights):
    generator = sampling.SeedGenerator(6)
    drawn = [int(ops.convert_to_numpy(sampling.choice((7, 8, 9), weights, generator))) for _ in range(800)]
    expected = np.array(weights or (1, 1, 1)) / sum(weights or (1, 1, 1))
    assert stats.chisquare([drawn.count(value) for value in (7, 8, 9)], 800 * expected).pvalue > 1e-3
    chosen = sampling.choice((7, 8, 9), weights, generator)
    assert keras.backend.standardize_dtype(chosen.dtype) == "int32" and tuple(chosen.shape) == ()


def test_nothing_is_drawn_where_there_is_no_choice():
    generator = sampling.SeedGenerator(2**30 + 1)  # no float32 number
    before = state_of(generator)
    assert sampling.choice((7,), None, generator) == 7
    # A probability that is a tensor, as in a schedule.
    assert ops.convert_to_numpy(sampling.bernoulli((50,), ops.convert_to_tensor(1.0), generator)).all()
    assert state_of(generator) == before
    rate = ops.convert_to_numpy(sampling.bernoulli((4000,), ops.convert_to_tensor(0.3), generator)).mean()
    assert abs(rate - 0.3) < 0.03 and state_of(generator) != before


def test_draws_of_a_branch_differ_and_leave_the_state_alone():
    generator = sampling.SeedGenerator(8)
    seed = generator.next()
    before = state_of(generator)

    def draws():
        with sampling.branch(seed):
            kinds = [sampling.uniform((500,), generator), sampling.uniform((500,), generator)]
            kinds.append(sampling.bernoulli((500,), ops.convert_to_tensor(0.5), generator))
            kinds.append(sampling.normal((500,), generator))
        return [ops.convert_to_numpy(drawn).astype("float64") for drawn in kinds]

    first, second = draws(), draws()
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert (np.abs(np.corrcoef(first) - np.eye(4)) < 0.2).all()
    assert state_of(generator) == before
    with sampling.branch(generator.next()):
        other = ops.convert_to_numpy(sampling.uniform((500,), generator))
    assert abs(np.corrcoef(other, first[0])[0, 1]) < 0.2
    assert ops.convert_to_numpy(sampling.uniform((2,), generator)).size == 2 and state_of(generator) != before


def test_a_failed_branch_ends():
    generator = sampling.SeedGenerator(8)
    with pytest.raises(ZeroDivisionError), sampling.branch(generator.next()):
        1 / 0  # noqa: B018
    before = state_of(generator)
    sampling.uniform((2,), generator)
    assert state_of(generator) != before


def test_beta_is_finite_where_a_uniform_number_is_0(monkeypatch):
    draws = []

    def uniform(shape, seed, minval=0.0, maxval=1.0):
        draws.append((shape, minval))
        return ops.full(shape, minval, "float32")

    monkeypatch.setattr(sampling, "uniform", uniform)
    drawn = ops.convert_to_numpy(sampling.beta((3,), 1.0, 1))
    (shape, bound), *rest = draws
    assert np.isfinite(drawn).all() and 0 < bound < 1e-20
    assert shape == (2, 3) and not rest


def test_nothing_of_probability_0_is_chosen(monkeypatch):
    monkeypatch.setattr(sampling, "uniform", lambda shape, seed, maxval=1.0: ops.zeros(shape))
    for probability in (0.0, ops.convert_to_tensor(0.0)):
        assert not ops.convert_to_numpy(sampling.bernoulli((2,), probability, sampling.SeedGenerator(1))).any()
    assert int(sampling.choice((7, 8), (0.0, 1.0), sampling.SeedGenerator(1))) == 8


def test_draws_are_repeatable():
    def draws():
        generator = sampling.SeedGenerator(13)
        kinds = [sampling.bernoulli((64,), 0.5, generator), sampling.bernoulli((64,), ops.array(0.5), generator)]
        kinds += [sampling.choice(tuple(range(1000)), None, generator) for _ in range(3)]
        return [ops.convert_to_numpy(drawn).tolist() for drawn in kinds]

    assert draws() == draws()


def test_a_generator_advances_as_that_of_keras_does():
    generator, stock = sampling.SeedGenerator(13, name="draws"), keras.random.SeedGenerator(13, name="draws")
    assert generator.name == stock.name == "draws"
    assert np.array_equal(*(ops.convert_to_numpy(each.next()) for each in (generator, stock)))
    assert state_of(generator) == state_of(stock)
    # A probability that is a number is not scheduled, so its draws advance the state even if all are true.
    sampling.bernoulli((2,), 1.0, generator)
    assert state_of(generator) != state_of(stock)


def test_a_layer_keeps_its_seed_and_its_state(tmp_path):
    layer = sampling.SeededLayer(seed=11, name="seeded")
    assert layer.get_config()["seed"] == 11 and layer.get_config()["name"] == "seeded"
    assert state_of(layer.seed_generator) == state_of(sampling.SeedGenerator(11))
    assert sampling.SeededLayer().seed is None
    sampling.uniform((2,), layer.seed_generator)
    store = {}
    layer.save_own_variables(store)
    other = sampling.SeededLayer(seed=12)
    unchanged = state_of(other.seed_generator)
    other.load_own_variables({})
    assert state_of(other.seed_generator) == unchanged
    other.load_own_variables({"seed_state": store["seed_state"]})
    assert state_of(other.seed_generator) == state_of(layer.seed_generator) != state_of(sampling.SeedGenerator(11))


@keras.saving.register_keras_serializable("test_sampling")
class Scaled(sampling.SeededLayer):
    def call(self, inputs, factor=1.0):
        return inputs * factor


def test_a_layer_passes_its_arguments_on():
    assert ops.convert_to_numpy(Scaled()(ops.ones((2,)), factor=3.0)).tolist() == [3.0, 3.0]


def test_a_pickled_layer_continues_apart_in_another_process(monkeypatch):
    layer = Scaled(seed=11)
    sampling.uniform((2,), layer.seed_generator)
    pickled = pickle.dumps(layer)
    here = pickle.loads(pickled)
    assert isinstance(here, Scaled) and here.seed == 11
    # Keras pickles through a file of the model, which does not hold the state of a layer alone.
    before = state_of(here.seed_generator)
    monkeypatch.setattr(sampling.os, "getpid", lambda: 1)
    monkeypatch.setattr(sampling.multiprocessing, "current_process", lambda: type("Process", (), {"_identity": (2,)}))
    assert state_of(pickle.loads(pickled).seed_generator) != before


def test_a_number_keeps_its_precision_in_a_layer_of_mixed_precision():
    number = sampling.AdjustableNumber(1 / 3, "probability")

    class Reader(keras.layers.Layer):
        def call(self, inputs):
            return ops.cast(inputs, "float32") + number.read()

    read = ops.convert_to_numpy(Reader(dtype="mixed_float16")(ops.zeros((1,))))
    assert read.tolist() == [np.float32(1 / 3)]


def test_a_number_is_read_after_it_was_changed(half_precision):
    number = sampling.AdjustableNumber(0.25, "probability")
    assert number.name == "probability" and number.number == float(number.read()) == 0.25
    number.change(0.75)
    assert number.number == float(number.read()) == 0.75
    if keras.backend.backend() != "torch":
        assert number.state.name == "probability" and not number.state.trainable
        assert not isinstance(number.read(), float)  # which a compiled step would keep
        assert keras.backend.standardize_dtype(number.state.dtype) == "float32"


def test_a_thread_waits_until_another_has_drawn():
    generator = sampling.SeedGenerator(3)
    thread = threading.Thread(target=generator.next)
    with generator.lock:
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join(60)
    assert not thread.is_alive()


def test_only_the_process_that_made_a_generator_is_its_own(monkeypatch):
    generator = sampling.SeedGenerator(3)
    before, parent = state_of(generator), generator.lock
    generator.enter_process()
    assert state_of(generator) == before
    monkeypatch.setattr(sampling.os, "getpid", lambda: 1)
    if keras.backend.backend() != "torch":
        with pytest.raises(RuntimeError, match="Received: a mixer of process .* in its fork 1"):
            generator.enter_process()
        return
    lock = generator.lock
    assert lock is not parent
    generator.enter_process()  # without a number of multiprocessing: a fork of the user's own
    assert generator._process == 1 and state_of(generator) == before and lock is generator.lock


def test_worker_processes_continue_apart_and_repeatably(monkeypatch):
    class Process:
        _identity = (2, 1)

    states = []
    for seed, identity in ((3, (2, 1)), (3, (2, 1)), (3, (2, 2)), (4, (2, 1)), (None, (2, 1)), (None, (2, 1))):
        generator = sampling.SeedGenerator(seed)
        if seed is None:
            generator.state.assign(sampling.SeedGenerator(3).state)
        monkeypatch.setattr(Process, "_identity", identity)
        monkeypatch.setattr(sampling.multiprocessing, "current_process", Process)
        generator.fold_worker()
        states.append(tuple(state_of(generator)))
    assert states[0] == states[1] and len(set(states)) == 5  # without a seed, nothing is repeated
    assert sampling.SeedGenerator(3).state.shape == (2,) and states[0] != tuple(state_of(sampling.SeedGenerator(3)))
