"""The monitor of mixing: its figures against loops, its files, and a training that it does not disturb."""

import csv

import keras
import numpy as np
import pytest

import keras_mma
from keras_mma import layers, plotting
from keras_mma.callbacks import mixing_monitor
from keras_mma.errors import InputError
from tests.pictures import blobs


def make_model(mixer=None, at=("first", "pool"), **arguments):
    keras.utils.set_random_seed(3)
    network = keras.Sequential([keras.Input((16, 20, 3)), keras.layers.Rescaling(1 / 255, name="scale")])
    network.add(keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="first"))
    network.add(keras.layers.AveragePooling2D(2, name="pool"))
    network.add(keras.layers.GlobalAveragePooling2D())
    network.add(keras.layers.Dense(3))
    model = keras_mma.mixify(network, mixer or layers.SaliencyMix(seed=1), at=list(at), **arguments)
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    return model


def train(model, rng, monitors, epochs=3):
    images = blobs(np.random.default_rng(1), 8).astype("float32")
    labels = np.eye(3)[np.arange(8) % 3]
    return model.fit(images, labels, batch_size=4, epochs=epochs, verbose=0, callbacks=monitors).history["loss"]


@pytest.mark.parametrize("seed", [None, pytest.param(1, marks=pytest.mark.slow)])
def test_training_is_not_disturbed(rng, tmp_path, seed):
    def mixer():
        keras.utils.set_random_seed(5)
        return layers.SaliencyMix(seed=seed)

    monitor = mixing_monitor.MixingMonitor(blobs(rng, 6), tmp_path, samples=0, frequency=2, tensorboard=False)
    assert train(make_model(mixer()), rng, [monitor]) == train(make_model(mixer()), rng, [])
    assert [figures["epoch"] for figures in monitor.figures] == [1, 3]
    train(make_model(mixer()), rng, [monitor], epochs=1)
    assert [figures["epoch"] for figures in monitor.figures] == [1]
    train(make_model(mixer()), rng, [monitor])
    with open(tmp_path / "mixing.csv") as file:
        rows = list(csv.DictReader(file))
    expected = {"epoch", "mixer/weight_mean", "mixer/weight_std"}
    expected |= {f"site{k}/{name}" for k in (1, 2) for name in ("edge_jump", "mismatch", "weight_mean", "weight_std")}
    expected |= {f"site{k}/rate" for k in (0, 1, 2)}
    assert len(rows) == 2 and set(rows[0]) == expected
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())


def test_sites_are_counted_as_they_fired(rng, tmp_path):
    def make():
        return make_model(layers.CutMix(seed=1, sites=(0, 1, 2)))

    monitor = mixing_monitor.MixingMonitor(blobs(rng, 6), tmp_path, samples=0, frequency=1, tensorboard=False)
    images, labels = blobs(rng, 20).astype("float32"), np.eye(3)[np.arange(20) % 3]
    model = make()
    # Validation resets the metrics of Keras before the epoch ends.
    fit = {"batch_size": 4, "epochs": 2, "verbose": 0, "validation_data": (images, labels)}
    history = model.fit(images, labels, callbacks=[monitor], **fit).history
    assert set(history) == {"loss", "val_loss"}
    rates = [[figures[f"site{site}/rate"] for site in (0, 1, 2)] for figures in monitor.figures]
    np.testing.assert_allclose(np.sum(rates, axis=1), 1)
    mixer = make().mixer
    sites = [int(mixer(images[:4], training=True)[1]["site"]) for _ in range(10)]
    np.testing.assert_allclose(rates, [np.bincount(half, minlength=3) / 5 for half in (sites[:5], sites[5:])])
    assert "site_counts" not in [metric.name for metric in model.metrics]


def test_two_monitors_count_both(rng, tmp_path):
    common = {"samples": 0, "frequency": 1, "tensorboard": False}
    monitors = [mixing_monitor.MixingMonitor(blobs(rng, 6), tmp_path / name, **common) for name in "ab"]
    model = make_model(layers.CutMix(seed=1, sites=(0, 1, 2)))
    for _ in range(2):
        model.fit(
            blobs(rng, 20).astype("float32"), np.eye(3)[np.arange(20) % 3], batch_size=4, callbacks=monitors, verbose=0
        )
    rates = [[figures["site0/rate"] for figures in monitor.figures] for monitor in monitors]
    assert rates[0] == rates[1] and all(sum(row[f"site{k}/rate"] for k in range(3)) == pytest.approx(1)
                                        for row in monitors[0].figures)  # fmt: skip
    assert not model.plan_metrics


def test_only_training_counts_sites(rng, tmp_path):
    monitor = mixing_monitor.MixingMonitor(blobs(rng, 6), tmp_path, samples=0, tensorboard=False)
    images, labels = blobs(rng, 8).astype("float32"), np.eye(3)[np.arange(8) % 3]
    model = make_model()
    model.evaluate(images, labels, verbose=0, callbacks=[monitor])
    model.predict(images, verbose=0, callbacks=[monitor])
    assert not model.plan_metrics
    train(model, rng, [], epochs=1)  # compiles the training step
    train(model, rng, [monitor], epochs=1)
    assert sum(monitor.figures[0][f"site{site}/rate"] for site in (0, 1, 2)) == pytest.approx(1)
    assert not model.plan_metrics


def test_pictures_are_written_where_there_is_no_tensorboard(rng, tmp_path):
    pytest.importorskip("matplotlib")
    monitor = mixing_monitor.MixingMonitor(
        blobs(rng, 6), tmp_path, labels=[0, 1, 2, 0, 1, 2], class_names="abc", samples=2, tensorboard=False
    )
    train(make_model(layers.CutMix(seed=1)), rng, [monitor], epochs=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "adaptation-0001.png",
        "mixing-0001.png",
        "mixing.csv",
    ]
    assert "site1/mismatch" not in monitor.figures[0]  # CutMix has no saliency


def test_events_are_written_for_tensorboard(rng, tmp_path, needs_tensorflow):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(
        make_model(at=()),
        rng,
        [mixing_monitor.MixingMonitor(blobs(rng, 6), tmp_path, samples=2, frequency=1)],
        epochs=2,
    )
    events = EventAccumulator(str(tmp_path), {"tensors": 0})
    events.Reload()
    assert set(events.Tags()["tensors"]) == {"mixing", "mixer/weight_mean", "mixer/weight_std", "site0/rate"}
    assert [event.step for event in events.Tensors("mixing")] == [1, 2]


def test_reports_take_at_most_a_twentieth_of_the_time(rng, tmp_path, monkeypatch):
    """An epoch takes 7 seconds and a report takes 2, the first one 4."""
    clock, reports = [0.0], []
    monkeypatch.setattr(mixing_monitor.time, "perf_counter", lambda: clock[0])
    monitor = mixing_monitor.MixingMonitor(blobs(rng, 6), tmp_path, samples=0, tensorboard=False)

    def report(epoch):
        reports.append(epoch)
        clock[0] += 2.0 if epoch else 4.0

    monkeypatch.setattr(monitor, "_report", report)
    monitor.set_model(make_model())
    monitor.on_train_begin()
    for epoch in range(40):
        clock[0] += 7.0
        monitor.on_epoch_end(epoch)
    assert reports == [0, 12, 18, 24, 30, 36]  # after 80, and then after 40 seconds


def test_the_jump_and_the_correlation_against_loops(rng):
    mask, inside = rng.uniform(0, 1, (3, 5, 6)), rng.uniform(0, 1, (3, 5, 6)) > 0.5
    differences = []
    for n in range(3):
        for i in range(5):
            for j in range(6):
                for k, m in ((i + 1, j), (i, j + 1)):
                    if k < 5 and m < 6 and inside[n, i, j] != inside[n, k, m]:
                        differences.append(abs(mask[n, i, j] - mask[n, k, m]))
    assert mixing_monitor.edge_jump(mask, inside) == pytest.approx(np.mean(differences))
    assert mixing_monitor.edge_jump(mask, np.ones_like(inside)) is None
    other = rng.uniform(0, 1, (3, 5, 6))
    other[2] = 1.0
    expected = np.mean([np.corrcoef(mask[n].ravel(), other[n].ravel())[0, 1] for n in range(2)])
    assert mixing_monitor.mean_correlation(mask, other) == pytest.approx(expected)
    assert mixing_monitor.mean_correlation(np.ones((2, 3, 3)), np.ones((2, 3, 3))) is None
    np.testing.assert_array_equal(mixing_monitor.nearest(mask, (5, 6)), mask)
    np.testing.assert_array_equal(mixing_monitor.nearest(np.arange(16).reshape(1, 4, 4), (2, 2))[0], [[5, 7], [13, 15]])


def test_a_hard_mask_jumps_by_one(rng):
    naive = {"attention": None, "smooth": False, "resize": "nearest"}
    network = keras.Sequential([keras.Input((16, 20, 3)), keras.layers.Conv2D(4, 3, padding="same", name="first")])
    network.add(keras.layers.GlobalAveragePooling2D())
    network.add(keras.layers.Dense(3))
    model = keras_mma.mixify(network, layers.CutMix(seed=2), at=["first"], **naive)
    assert mixing_monitor.measure(model, blobs(rng, 8).astype("float32"))["site1/edge_jump"] == 1.0


def test_arguments_that_are_refused(rng, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="`frequency` must be a positive integer. Received: frequency=0"):
        mixing_monitor.MixingMonitor(blobs(rng, 6), tmp_path, frequency=0)
    with pytest.raises(ValueError, match=r"`images` must be a batch .* at least two. Received: shape \(1, 16, 20, 3\)"):
        mixing_monitor.MixingMonitor(blobs(rng, 1), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="`log_dir` must be a folder. Received: the file .*file"):
        mixing_monitor.MixingMonitor(blobs(rng, 6), tmp_path / "file")
    monkeypatch.setattr(mixing_monitor.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="`tensorboard` needs tensorflow and tensorboard: pip install"):
        mixing_monitor.MixingMonitor(blobs(rng, 2), tmp_path, tensorboard=True)
    monkeypatch.undo()
    network = keras.Sequential([keras.Input((16, 20, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    network.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    with pytest.raises(ValueError, match="`model` must be a `MixModel`"):
        train(network, rng, [mixing_monitor.MixingMonitor(blobs(rng, 6), tmp_path)])


def test_what_a_report_lacks_is_said_before_the_first_step(rng, tmp_path, monkeypatch):
    model = make_model()
    for labels, match in (([0, 1], "`labels` must be as many as the images, 6. Received: 2"), ([3] * 6, "4 classes")):
        monitor = mixing_monitor.MixingMonitor(blobs(rng, 6), tmp_path, labels=labels, class_names=["a", "b", "c"])
        with pytest.raises(ValueError, match=match):
            train(model, rng, [monitor])
    with pytest.raises(ValueError, match=r"`images` must have the shape of the model's input, \(16, 20, 3\). Received"):
        train(model, rng, [mixing_monitor.MixingMonitor(blobs(rng, 6)[:, :8], tmp_path)])
    assert not model.plan_metrics

    def missing():
        raise InputError("plots need matplotlib")

    monkeypatch.setattr(plotting, "require", missing)
    with pytest.raises(InputError, match="plots need matplotlib"):
        train(model, rng, [mixing_monitor.MixingMonitor(blobs(rng, 6), tmp_path)])
    assert int(model.optimizer.iterations) == 0
    train(model, rng, [mixing_monitor.MixingMonitor(blobs(rng, 6), tmp_path, samples=0, tensorboard=False)], epochs=1)


def test_the_weights_at_a_site_are_those_of_its_label(rng):
    for label in ("mixer", "adapted"):
        model = make_model(layers.SaliencyGrafting(seed=1), at=("first",), label=label)
        figures = mixing_monitor.measure(model, blobs(rng, 6).astype("float32"))
        same = figures["site1/weight_mean"] == figures["mixer/weight_mean"]
        assert same == (label == "mixer")


def test_a_figure_that_means_nothing_for_a_draw_is_left_empty(rng, tmp_path, monkeypatch):
    jumps = iter([None, 0.5, None, None, 0.5, 0.5])
    monkeypatch.setattr(mixing_monitor, "edge_jump", lambda *_: next(jumps))
    monitor = mixing_monitor.MixingMonitor(blobs(rng, 6), tmp_path, samples=0, frequency=1, tensorboard=False)
    train(make_model(layers.RandomChoice(seed=1), at=["first"]), rng, [monitor])
    with open(tmp_path / "mixing.csv") as file:
        assert [row["site1/edge_jump"] for row in csv.DictReader(file)] == ["", "0.5", ""]


def test_a_training_that_is_resumed_goes_on_with_the_table(rng, tmp_path):
    model = make_model(layers.CutMix(seed=1))
    images, labels = blobs(rng, 8).astype("float32"), np.eye(3)[np.arange(8) % 3]

    def fit(first, last):
        monitor = mixing_monitor.MixingMonitor(images, tmp_path, samples=0, frequency=1, tensorboard=False)
        model.fit(images, labels, initial_epoch=first, epochs=last, verbose=0, callbacks=[monitor])
        with open(tmp_path / "mixing.csv") as file:
            return [(int(row["epoch"]), row["mixer/weight_mean"]) for row in csv.DictReader(file)]

    before = fit(0, 3)
    after = fit(2, 4)  # the third epoch was interrupted and is repeated
    assert [epoch for epoch, _ in after] == [1, 2, 3, 4] and after[:2] == before[:2]
    assert [epoch for epoch, _ in fit(0, 1)] == [1]
    (tmp_path / "mixing.csv").write_text("a,epoch\n1\n2,x\n")  # of something else
    assert [epoch for epoch, _ in fit(1, 2)] == [2]


@pytest.mark.parametrize(
    "mixer",
    [
        lambda: layers.CutMix(sites=(0, 1), site_weights=[1, 3]),
        lambda: layers.CutMix(label="sumix", sites=(0, 1)),
        lambda: layers.RandomChoice([layers.CutMix(sites=(0, 1), site_weights=[1, 2])], sites=(0, 1)),
    ],
)
def test_every_mixer_can_be_watched(rng, tmp_path, mixer):
    monitor = mixing_monitor.MixingMonitor(blobs(rng, 6), tmp_path, samples=0, frequency=1, tensorboard=False)
    train(make_model(mixer(), at=["first"]), rng, [monitor], epochs=1)
    assert 0 < monitor.figures[0]["mixer/weight_mean"] < 1


def test_a_model_with_two_inputs_is_refused(rng, tmp_path):
    images, other = keras.Input((16, 20, 3)), keras.Input((2,))
    x, plan = layers.CutMix()(images)
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    model = keras_mma.MixModel([images, other], (keras.layers.Dense(3)(pooled), plan))
    with pytest.raises(ValueError, match="`MixingMonitor` needs a model with one input. Received: 2 inputs"):
        mixing_monitor.MixingMonitor(blobs(rng, 6), tmp_path, tensorboard=False).set_model(model)


def test_the_order_of_the_batches_is_not_disturbed(rng, tmp_path):
    class Batches(keras.utils.PyDataset):
        def __init__(self):
            super().__init__()
            self.seen = []

        def __len__(self):
            return 6

        def __getitem__(self, index):
            self.seen.append(index)
            return blobs(np.random.default_rng(index), 4).astype("float32"), np.eye(3)[np.arange(4) % 3]

    def order(monitors):
        model, batches = make_model(layers.CutMix(), at=[]), Batches()
        keras.utils.set_random_seed(7)
        model.fit(batches, epochs=3, verbose=0, callbacks=monitors)
        return batches.seen

    monitor = mixing_monitor.MixingMonitor(blobs(rng, 6), tmp_path, samples=0, frequency=1, tensorboard=False)
    assert order([monitor]) == order([])
