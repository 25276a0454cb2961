"""`MixModel`: labels, weights and metrics in `fit`; construction; inference; saving."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mma
from keras_mma import layers, plans
from tests import oracles
from tests.layers.mixers import to_numpy
from tests.pictures import blobs
from tests.tracing import UNTRACED

CROSSENTROPY = keras.losses.CategoricalCrossentropy(from_logits=True)


def network(sites=(0, 1), mixer=layers.CutMix, heads=1, seed=3, **adapt):
    inputs = keras.Input((16, 20, 3))
    x, plan = mixer(sites=sites, seed=seed)(inputs)
    x = keras.layers.Rescaling(1 / 255)(x)
    for site in sites:
        if site:
            x = keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(x)
            x = keras.layers.BatchNormalization()(x)
            x, plan = layers.FeatureMixAdapt(site, **adapt)(x, plan)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(5, name="a")(x)
    if heads == 2:
        outputs = {"a": outputs, "b": keras.layers.Dense(3, name="b")(x)}
    return keras_mma.MixModel(inputs, (outputs, plan))


@pytest.fixture
def data(rng):
    return blobs(rng, 12).astype("float32"), rng.integers(0, 5, 12)


class TestLabels:
    def labels_in_the_loss(self, model, images, labels, **fit):
        """The labels that the loss receives in a training step."""
        received = []

        def loss(y_true, y_pred):
            received.append(ops.convert_to_numpy(y_true))
            return ops.mean(ops.square(y_true - y_pred), -1)

        model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
        model.fit(images, labels, batch_size=12, shuffle=False, verbose=0, **fit)
        return received[-1]

    @pytest.mark.parametrize("form", ["integers", "column", "one-hot", "soft"])
    def test_labels_of_every_form_are_mixed_by_the_plan(self, data, form, rng):
        if keras.backend.backend() == "jax":
            pytest.skip("a traced loss has no values")
        images, classes = data
        labels = {
            "integers": classes,
            "column": classes[:, None],
            "one-hot": np.eye(5)[classes],
            "soft": rng.dirichlet(np.ones(5), 12),
        }[form]
        encoded = labels if form in ("one-hot", "soft") else np.eye(5)[classes]
        mixed = self.labels_in_the_loss(network((0,)), images, labels)
        _, plan = layers.CutMix(seed=3)(images, training=True)
        np.testing.assert_allclose(mixed, oracles.mix_labels(encoded, to_numpy(plan)), atol=1e-5)
        assert not np.allclose(mixed, encoded)

    def test_metrics_receive_mixed_labels_in_training_and_true_labels_in_evaluation(self, data):
        images, labels = data
        model = network((0,))

        # The highest share of a class, averaged over samples: 1 unless labels are mixed.
        def peak(y_true, y_pred):
            return ops.max(y_true, -1)

        model.compile("sgd", CROSSENTROPY, metrics=[peak, "accuracy"])
        assert model.fit(images, labels, verbose=0).history["peak"][0] < 0.99
        assert model.evaluate(images, labels, verbose=0, return_dict=True)["peak"] == 1.0
        assert "val_accuracy" in model.fit(images, labels, validation_data=(images, labels), verbose=0).history

    def test_evaluation_equals_the_plain_network(self, data):
        images, labels = data
        model = network()
        plain = model.inference_model()
        for each in (model, plain):
            each.compile("sgd", CROSSENTROPY, metrics=["accuracy", keras.metrics.TopKCategoricalAccuracy(2)])
        expected = plain.evaluate(images, np.eye(5)[labels], verbose=0)
        np.testing.assert_allclose(model.evaluate(images, labels, verbose=0), expected, rtol=1e-5)

    def test_the_loss_is_that_of_the_mixed_labels_and_weights(self, data, rng):
        images, labels = data
        weights = rng.random(12).astype("float32")
        model = network((0,))
        model.compile(keras.optimizers.SGD(0.0), "mse")
        history = model.fit(images, labels, batch_size=12, sample_weight=weights, shuffle=False, verbose=0).history
        mixed, plan = to_numpy(layers.CutMix(seed=3)(images, training=True))
        predictions = model.predict(mixed, verbose=0)
        y, w = oracles.mix_labels(np.eye(5)[labels], plan), oracles.mix_labels(weights, plan)
        expected = np.mean([w[i] * np.mean((y[i] - predictions[i]) ** 2) for i in range(12)])
        np.testing.assert_allclose(history["loss"][0], expected, rtol=1e-4)

    def test_weighted_metrics_receive_the_mixed_weights(self, data, rng):
        images, labels = data
        weights = rng.random(12).astype("float32")
        model = network((0,))
        model.compile(keras.optimizers.SGD(0.0), "mse", weighted_metrics=["mse"])
        history = model.fit(images, labels, batch_size=12, sample_weight=weights, shuffle=False, verbose=0).history
        mixed, plan = to_numpy(layers.CutMix(seed=3)(images, training=True))
        predictions = model.predict(mixed, verbose=0)
        errors = ((oracles.mix_labels(np.eye(5)[labels], plan) - predictions) ** 2).mean(1)
        mixed_weights = oracles.mix_labels(weights, plan)
        (name,) = [key for key in history if key != "loss"]
        np.testing.assert_allclose(history[name][0], (errors * mixed_weights).sum() / mixed_weights.sum(), rtol=1e-4)

    def test_a_class_index_out_of_range_in_a_dataset_gives_a_nan_loss(self, needs_tensorflow, data):
        import tensorflow as tf

        model = network()
        model.compile("sgd", CROSSENTROPY)
        dataset = tf.data.Dataset.from_tensor_slices((data[0], data[1] + 3)).batch(12)
        assert np.isnan(model.fit(dataset, verbose=0).history["loss"][0])

    def test_losses_with_similar_names_and_positional_arguments_are_accepted(self):
        def sparsemax_loss(y_true, y_pred):
            return ops.mean(y_true - y_pred)

        network().compile("sgd", sparsemax_loss, None, ["mse"])

    def test_class_weight_is_sample_weight(self, data):
        images, labels = data
        class_weight = {0: 0.2, 1: 3.0, 2: 1.0, 3: 0.5, 4: 2.0}
        by_class, by_sample = network((0,)), network((0,))
        by_sample.set_weights(by_class.get_weights())
        history = []
        for model, fit in (
            (by_class, {"class_weight": class_weight}),
            (by_sample, {"sample_weight": np.array([class_weight[label] for label in labels], "float32")}),
        ):
            model.compile("sgd", CROSSENTROPY)
            history.append(
                model.fit(images, labels, batch_size=4, epochs=2, shuffle=False, verbose=0, **fit).history["loss"]
            )
        np.testing.assert_allclose(*history, rtol=1e-4)

    def test_heads_have_their_own_losses_and_metrics(self, data, rng):
        images, labels = data
        other = rng.integers(0, 3, 12)
        model = network(heads=2)
        model.compile("sgd", {"a": CROSSENTROPY, "b": CROSSENTROPY}, metrics={"a": ["accuracy"], "b": ["accuracy"]})
        y = {"a": labels, "b": np.eye(3)[other]}
        history = model.fit(images, y, verbose=0).history
        assert {"loss", "a_accuracy", "b_accuracy"} <= set(history)
        assert set(model.predict(images, verbose=0)) == {"a", "b"}

    def test_losses_of_heads_are_weighted(self, data, rng):
        images, labels = data
        model = network(heads=2)
        model.compile("sgd", {"a": CROSSENTROPY, "b": CROSSENTROPY}, loss_weights={"a": 2.0, "b": 0.0})
        logs = model.evaluate(images, {"a": labels, "b": rng.integers(0, 3, 12)}, verbose=0, return_dict=True)
        np.testing.assert_allclose(logs["loss"], 2 * logs["a_loss"], rtol=1e-5)

    def test_metrics_of_the_plan_are_updated_in_training(self, data):
        class Weights(keras.metrics.Mean):
            def update_state(self, plan):
                return super().update_state(plan["weight"])

        images, labels = data
        model = network(mixer=layers.MixUp)
        model.compile("sgd", CROSSENTROPY)
        model.set_plan_metrics(Weights(name="weights"))
        history = model.fit(images, labels, verbose=0).history
        assert 0 < history["weights"][0] < 1

    def test_labels_that_do_not_fit_raise(self, data):
        images, labels = data
        model = network()
        model.compile("sgd", CROSSENTROPY)
        for invalid, match in (
            (
                np.eye(4)[labels % 4],
                r"`y` must be one-hot or soft labels of shape \(batch, 5\).* Received: y of shape",
            ),
            (labels + 0.5, "`y` must be class indices from 0 to 4.* Received: y with the label .*5"),
            (np.zeros((12, 2, 5), "float32"), r"Received: y of shape"),
            ({"c": labels}, r"`y` must name heads of the model, \['a'\]. Received: \['c'\]"),
        ):
            with pytest.raises(ValueError, match=match):
                model.fit(images, invalid, verbose=0)

    @pytest.mark.parametrize("argument", ["loss", "metrics", "weighted_metrics"])
    def test_losses_and_metrics_of_integer_labels_raise(self, argument):
        for value in (
            "sparse_categorical_crossentropy" if argument == "loss" else ["sparse_categorical_accuracy"],
            keras.losses.SparseCategoricalCrossentropy()
            if argument == "loss"
            else [keras.metrics.SparseCategoricalAccuracy()],
            keras.losses.sparse_categorical_crossentropy
            if argument == "loss"
            else [keras.metrics.sparse_categorical_accuracy],
        ):
            with pytest.raises(ValueError, match=f"`{argument}` must take soft labels"):
                network().compile("sgd", **{"loss": CROSSENTROPY, argument: value})

    @pytest.mark.parametrize("name", ["CategoricalGeneralizedCrossEntropy", "Circle", "CTC"])
    def test_other_losses_of_class_indices_raise(self, name):
        if not hasattr(keras.losses, name):
            pytest.skip(f"this version of Keras has no {name}")
        with pytest.raises(ValueError, match=f"`loss` must take soft labels.* Received: loss={name}"):
            network().compile("sgd", getattr(keras.losses, name)())

    @pytest.mark.parametrize("metric", [keras.metrics.MeanIoU(5), keras.metrics.IoU(5, [1])], ids=["MeanIoU", "IoU"])
    def test_overlaps_of_class_indices_raise(self, metric):
        with pytest.raises(ValueError, match="use `keras.metrics.OneHotMeanIoU` or `OneHotIoU`. Received: metrics="):
            network().compile("sgd", CROSSENTROPY, metrics=[metric])
        network().compile("sgd", CROSSENTROPY, metrics=[keras.metrics.OneHotMeanIoU(5)])

    def test_an_output_without_an_axis_of_classes_raises(self):
        inputs = keras.Input((8, 8, 3))
        x, plan = layers.CutMix()(inputs)
        output = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(x))
        model = keras_mma.MixModel(inputs, (keras.layers.Reshape(())(output), plan))
        model.compile("sgd", "mse")
        with pytest.raises(ValueError, match=r"where one output is \(batch, 1\).*Received: predictions of shape"):
            model.fit(np.zeros((8, 8, 8, 3)), np.arange(8) % 2, verbose=0)


class TestConstruction:
    def build(self, mixer_sites, sites, bypass_plan=(), bypass_features=()):
        inputs = keras.Input((16, 20, 3))
        x, plan = layers.CutMix(sites=mixer_sites)(inputs)
        for number, site in enumerate(sites):
            x = keras.layers.Conv2D(4, 3)(x)
            y, passed = layers.FeatureMixAdapt(site)(x, plan)
            x = x if number in bypass_features else y
            plan = plan if number in bypass_plan else passed
        outputs = keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x))
        return keras_mma.MixModel(inputs, (outputs, plan))

    def test_matching_sites_pass(self):
        for mixer_sites, sites in (((0,), ()), ((1,), (1,)), ((0, 1, 2), (1, 2)), ((2, 1), (2, 1))):
            self.build(mixer_sites, sites)

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            (((0, 1), ()), r"Each of the `sites` .* must have a layer such as `FeatureMixAdapt` .* none for \[1\]"),
            (((0, 1, 3), (1,)), r"none for \[3\]"),
            (((0, 1), (1, 1)), r"must have distinct sites. Received: sites=\[1, 1\]"),
            (((0,), (1,)), "Received: site=1, which never fires"),
            (((0, 1), (1, 2)), "Received: site=2, which never fires"),
            (((0, 1, 2), (1, 2), (0,)), "must have a layer such as `FeatureMixAdapt` that its plan goes through"),
            (((0, 2), (1, 2), (0,)), "Received: a plan that did not go through"),
            (((0, 1, 2), (1, 2), (), (1,)), "Received: predictions that also depend on features that go around it"),
        ],
    )
    def test_sites_that_do_not_match_raise(self, arguments, match):
        with pytest.raises(ValueError, match=match):
            self.build(*arguments)

    def test_a_mixer_that_needs_sample_weights_raises(self):
        inputs = keras.Input((16, 20, 3))
        x, plan = layers.CutMix(ignore_zero_weight=True)(inputs)
        with pytest.raises(ValueError, match="`ignore_zero_weight` requires labeled batches with sample weights"):
            keras_mma.MixModel(inputs, (keras.layers.GlobalAveragePooling2D()(x), plan))

    def test_layers_can_be_called_with_keywords(self, data):
        inputs = keras.Input((16, 20, 3))
        x, plan = layers.CutMix(sites=(1,))(images=inputs)
        x, plan = layers.FeatureMixAdapt(1)(features=keras.layers.Conv2D(5, 3)(x), plan=plan)
        model = keras_mma.MixModel(inputs, (keras.layers.GlobalAveragePooling2D()(x), plan))
        plain = model.inference_model()
        np.testing.assert_allclose(plain.predict(data[0], verbose=0), model.predict(data[0], verbose=0), atol=1e-5)

    def test_a_mixing_layer_inside_a_nested_model_raises(self):
        inner_input = keras.Input((16, 20, 3))
        inner = keras.Model(inner_input, layers.MixUp()(inner_input)[0], name="inner")
        inputs = keras.Input((16, 20, 3))
        x, plan = layers.CutMix()(inputs)
        with pytest.raises(
            ValueError, match=r"must be layers of the model itself.* Received: \['mix_up.*'\] inside .*'inner'"
        ):
            keras_mma.MixModel(inputs, (keras.layers.GlobalAveragePooling2D()(inner(x)), plan))

    def test_a_mix_model_cannot_be_a_layer(self):
        model = network()
        with pytest.raises(ValueError, match="A `MixModel` cannot be a layer of another model"):
            keras.Sequential([keras.Input((16, 20, 3)), model])
        with pytest.raises(ValueError, match="A `MixModel` cannot be a layer of another model"):
            model(keras.Input((16, 20, 3)))

    def test_outputs_must_be_predictions_and_a_plan(self):
        inputs = keras.Input((16, 20, 3))
        x, plan = layers.CutMix()(inputs)
        x = keras.layers.GlobalAveragePooling2D()(x)
        for outputs in (x, (x, x), (x, plan, x), {"x": x}):
            with pytest.raises(ValueError, match=r"`outputs` must be a pair \(predictions, plan\)"):
                keras_mma.MixModel(inputs, outputs)
        changed = {**plan, "weight": plan["weight"] * 0.5}
        with pytest.raises(ValueError, match="Received: a plan that comes from the layer"):
            keras_mma.MixModel(inputs, (x, changed))


def mixing_layers(model):
    flat = [layer for outer in model.layers for layer in [outer, *getattr(outer, "layers", [])]]
    return [layer.name for layer in flat if isinstance(layer, (layers.Mixer, layers.FeatureMixAdapt))]


class TestInference:
    def test_only_training_calls_return_the_plan(self, data):
        model = network()
        predictions, plan = model(data[0], training=True)
        assert plans.is_plan(plan) and predictions.shape == (12, 5)
        assert model(data[0]).shape == (12, 5) and model(data[0], training=False).shape == (12, 5)

    @pytest.mark.parametrize("heads", [1, 2])
    def test_inference_model_has_no_mixing_layers_and_shares_the_weights(self, data, heads):
        model = network(heads=heads)
        plain = model.inference_model()
        assert type(plain).__name__ == "Functional" and not mixing_layers(plain)
        assert {id(w) for w in plain.weights} == {id(w) for w in model.weights if "seed" not in w.path}
        keras.tree.map_structure(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
            plain.predict(data[0], verbose=0),
            model.predict(data[0], verbose=0),
        )
        before = plain.get_weights()
        model.compile("sgd", CROSSENTROPY, **UNTRACED)
        model.fit(data[0], data[1] if heads == 1 else {"a": data[1], "b": data[1] % 3}, verbose=0)
        assert any(not np.array_equal(a, b) for a, b in zip(before, plain.get_weights(), strict=True))

    def test_predictions_do_not_depend_on_other_samples(self, data):
        model = network()
        together = model.predict(data[0], verbose=0)
        alone = np.concatenate([model.predict(image[None], verbose=0) for image in data[0]])
        np.testing.assert_allclose(alone, together, atol=1e-5)


class TestSaving:
    @pytest.mark.slow
    def test_a_saved_model_loads_and_resumes_training(self, data, tmp_path):
        images, labels = data
        model = network(mixer=layers.SaliencyMix, attention="cbam", temperature=0.5)
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), CROSSENTROPY, metrics=["accuracy"])
        model.fit(images, labels, batch_size=4, epochs=2, verbose=0)
        model.save(tmp_path / "model.keras")
        copy = keras.models.load_model(tmp_path / "model.keras")
        assert type(copy) is keras_mma.MixModel
        np.testing.assert_allclose(copy.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-6)
        histories = [
            m.fit(images, labels, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
            for m in (model, copy)
        ]
        np.testing.assert_allclose(*histories, rtol=1e-4)  # weights, optimizer and seed states are restored

    def test_a_compiled_model_loads_with_the_state_of_its_optimizer(self, data, tmp_path):
        images, labels = data
        model = network()
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), CROSSENTROPY)
        model.train_on_batch(images, labels)
        model.save(tmp_path / "model.keras")
        copy = keras.models.load_model(tmp_path / "model.keras")
        states = [[ops.convert_to_numpy(value) for value in each.optimizer.variables] for each in (model, copy)]
        assert len(states[1]) > 2
        for before, after in zip(*states, strict=True):
            np.testing.assert_allclose(before, after, rtol=1e-6)

    def test_a_model_with_several_heads_loads(self, data, tmp_path):
        model = network(heads=2)
        model.save(tmp_path / "model.keras")
        copy = keras.models.load_model(tmp_path / "model.keras")
        keras.tree.map_structure(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
            copy.predict(data[0], verbose=0),
            model.predict(data[0], verbose=0),
        )

    def test_exported_models_predict_the_same_and_have_no_mixing_ops(self, needs_tensorflow, data, tmp_path):
        import tensorflow as tf

        model = network(mixer=layers.SaliencyMix)
        model.compile("sgd", CROSSENTROPY)
        model.fit(*data, verbose=0)
        model.export(tmp_path / "saved", verbose=False)
        served = tf.saved_model.load(str(tmp_path / "saved"))
        for images in (data[0], data[0][:1], data[0][:5]):
            np.testing.assert_allclose(served.serve(images), model.predict(images, verbose=0), atol=1e-5)
        signature = served.signatures["serving_default"]
        assert len(signature.structured_input_signature[1]) == 1
        graph = signature.graph.as_graph_def()
        ops_used = {node.op for node in graph.node} | {n.op for f in graph.library.function for n in f.node_def}
        forbidden = ("Random", "Gather", "Sort", "TopK", "Shuffle", "ArgMax", "Cumsum", "If", "Case")
        assert not [op for op in ops_used if any(word in op for word in forbidden)]
        assert not [v.name for v in served.variables if "seed" in v.name]
