"""The diagnosis of adapted masks: each measure against a loop, and networks whose figures are known."""

import json
import math
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from benchmarks.mask_adaptation import __main__ as command
from benchmarks.mask_adaptation import measures, page, settings
from benchmarks.mask_adaptation.diagnosis import diagnose, meets, meets_all, summarize
from benchmarks.records import recorded_command
from keras_mma import layers
from keras_mma.errors import InputError
from keras_mma.models import WideResNet
from tests.pictures import blobs

RECORD = Path(__file__).parents[1] / "docs" / "results" / "mask-adaptation.json"


def box_masks():
    """Area-pooled masks (2, 6, 7): a box that the cells' borders cut, and one along them. Own is 1."""
    masks = np.ones((2, 6, 7))
    masks[0, 1:4, 2:5] = 0
    masks[0, 4, 2:5] = 0.5  # cells that the edge crosses
    masks[1, :3, 4:] = 0
    return masks


def sides(masks):
    return (masks == 1).astype(int) - (masks == 0).astype(int)


def test_the_correlation_is_that_of_a_loop(rng):
    x, y = rng.normal(size=(2, 4, 5, 6))
    where = rng.random((4, 5, 6)) < 0.5
    where[1] = False
    where[1, 0, :2] = True  # two cells are too few
    x[2], y[3] = 0.7, 0.2
    expected = []
    for sample in range(4):
        pairs = [(x[sample, i, j], y[sample, i, j]) for i in range(5) for j in range(6) if where[sample, i, j]]
        means = [sum(pair[k] for pair in pairs) / len(pairs) for k in (0, 1)]
        covariance = sum((a - means[0]) * (b - means[1]) for a, b in pairs)
        variances = [sum((pair[k] - means[k]) ** 2 for pair in pairs) for k in (0, 1)]
        expected.append(covariance / math.sqrt(variances[0] * variances[1]) if min(variances) > 1e-9 else None)
    values = measures.correlation(x, y, where)
    np.testing.assert_allclose(values[0], expected[0])
    assert np.isnan(values[1]) and values[2] == 0 and np.isnan(values[3])


def test_the_deviation_is_that_of_the_cells_that_count(rng):
    x, where = rng.normal(size=(3, 4, 5)), rng.random((3, 4, 5)) < 0.5
    where[1] = False
    values = measures.deviation(x, where)
    for sample in (0, 2):
        np.testing.assert_allclose(values[sample], np.std(x[sample][where[sample]]))
    assert np.isnan(values[1])


def test_the_jump_is_taken_across_the_edge(rng):
    masks = box_masks()
    hard, count = measures.jump((masks > 0.4).astype(float), sides(masks))
    np.testing.assert_array_equal(hard, count)
    # Three sides of the first box and the cells below it; two sides of the second, which lies in a corner.
    np.testing.assert_array_equal(count, [3 + 3 + 3 + 3, 3 + 3])
    values, side = rng.random(masks.shape), sides(masks)
    for sample in range(2):
        expected = []
        for i in range(6):
            for j in range(7):
                for di, dj in ((0, 1), (1, 0)):
                    for distance in (1, 2):
                        row, column = i + distance * di, j + distance * dj
                        if row >= 6 or column >= 7 or side[sample, i, j] * side[sample, row, column] != -1:
                            continue
                        if distance == 2 and side[sample, i + di, j + dj] != 0:
                            continue
                        difference = values[sample, i, j] - values[sample, row, column]
                        expected.append(difference if side[sample, i, j] == 1 else -difference)
        total, count = measures.jump(values, side)
        np.testing.assert_allclose(total[sample], sum(expected))
        assert count[sample] == len(expected)


def test_cells_near_the_edge_have_a_neighbor_on_the_other_side():
    own = box_masks() > 0.6
    near = measures.near_edge(own)
    for sample in range(2):
        for i in range(6):
            for j in range(7):
                around = [
                    own[sample, row, column]
                    for row in range(max(i - 1, 0), min(i + 2, 6))
                    for column in range(max(j - 1, 0), min(j + 2, 7))
                ]
                assert near[sample, i, j] == (len(set(around)) == 2)


def test_soft_cells_are_counted():
    assert measures.soft_share(np.array([[[0.0, 0.1], [0.5, 0.91]], [[0.2, 0.3], [0.4, 0.5]]])).tolist() == [0.25, 1.0]


def test_the_distortion_is_that_of_a_loop(rng):
    mixed, own, partner = rng.normal(size=(3, 2, 3, 4, 5))
    mask = rng.random((2, 3, 4))
    values = measures.distortion(mixed, own, partner, mask)
    for place in np.ndindex(2, 3, 4):
        share = mask[place]
        terms = [abs(mixed[place][c] - (share * own[place][c] + (1 - share) * partner[place][c])) for c in range(5)]
        np.testing.assert_allclose(values[place], sum(terms) / 5)


def test_neighbors_are_compared_in_rows_and_columns(rng):
    masks = rng.uniform(size=(3, 4, 5))
    step, hard = measures.neighbor_differences(masks)
    for sample, mask in enumerate(masks):
        pairs = [(mask[i, j], mask[i + 1, j]) for i in range(3) for j in range(5)]
        pairs += [(mask[i, j], mask[i, j + 1]) for i in range(4) for j in range(4)]
        differences = [abs(first - second) for first, second in pairs]
        np.testing.assert_allclose(step[sample], sum(differences) / len(pairs))
        assert hard[sample] == sum(difference > 0.5 for difference in differences) / len(pairs)
    assert hard.min() > 0 and hard.max() < 1


def test_figures_are_means_over_samples_and_sums_over_pairs():
    values = {
        "difference": np.array([0.1, 0.3]),
        "soft": np.array([0.0, 0.5]),
        "jump": np.array([3.0, 0.0]),
        "pairs": np.array([4, 0]),
        "step": np.array([0.1, 0.2]),
        "hard": np.array([0.0, 0.04]),
        "weight": np.array([0.4, 0.6]),
        "correlation_own": np.array([0.2, np.nan]),
        "correlation_partner": np.array([0.4, 0.6]),
        "deviation_own": np.array([0.1, np.nan]),
        "deviation_partner": np.array([0.2, 0.3]),
    }
    figures = summarize(values, np.array([0.3, 0.7]))
    expected = {"difference": 0.2, "soft": 0.25, "jump": 0.75, "spread": 0.5, "correlation": 0.4, "deviation": 0.2}
    expected |= {"step": 0.15, "hard": 0.02}
    for name, value in expected.items():
        np.testing.assert_allclose(figures[name], value, err_msg=name)
    assert figures["distortion_near"] is None
    assert meets(figures) == {"jump": False, "spread": False, "correlation": False}
    assert meets(figures | {"jump": 0.5, "spread": None, "correlation": 0.5}) == {
        "jump": True,
        "spread": None,
        "correlation": True,
    }
    good = {"jump": 0.5, "spread": 0.9, "correlation": 0.5}
    assert meets_all([good, good | {"spread": None}]) and not meets_all([good, good | {"spread": 0.89}])


def test_candidate_attentions_transform_the_mean_magnitude(rng):
    features = rng.normal(size=(2, 4, 5, 3)).astype("float32")
    base = np.abs(features).mean(-1, keepdims=True)

    def candidate(text):
        attend = settings.candidate_attention(settings.parse(f"mma(attention={text})").arguments["attention"])
        return ops.convert_to_numpy(attend(features))

    np.testing.assert_allclose(candidate("power-2"), base**2, rtol=1e-5)
    for sample in range(2):
        np.testing.assert_allclose(candidate("minmax")[sample], base[sample] - base[sample].min(), rtol=1e-4, atol=1e-6)
        standard = (base[sample] - base[sample].mean()) / base[sample].std()
        expected = np.maximum(1 + 2 * standard, 0)
        np.testing.assert_allclose(candidate("standard-2")[sample], expected, rtol=1e-3, atol=1e-4)
    assert settings.candidate_attention("cbam") == "cbam" and settings.candidate_attention(None) is None


def test_a_setting_is_spelled_in_one_line():
    setting = settings.parse(
        "T 1, soft = mma(temperature=1, combine=add, attention=power-2, blur=0.5, resize=bilinear)"
    )
    assert setting.name == "T 1, soft" and setting.layer.edge_blur == 0.5 and setting.layer.resize == "bilinear"
    assert setting.arguments == {
        "temperature": 1,
        "combine": "add",
        "attention": ("power", 2),
        "resize": "bilinear",
        "edge_blur": 0.5,
    }
    naive = settings.parse("naive")
    assert naive.name == "naive" and not naive.layer.smooth and naive.layer.attention is None
    assert settings.parse("mma(attention=None)").layer.attention is None
    assert [settings.parse(text).name for text in settings.DEFAULTS][0] == "naive"


@pytest.mark.parametrize(
    "text, message",
    [
        ("soft", "naive, mma"),
        ("mma(temperature=-1)", "temperature"),
        ("mma(warmth=1)", "warmth"),
        ("mma(blur=-1)", "non-negative"),
        ("mma(attention=power-x)", "power-NUMBER"),
        ("mma(attention=loud)", "attention"),
        ("mma(sites=1)", "arguments of `FeatureMixAdapt` only"),
        ("mma(", "must be written as METHOD"),
    ],
)
def test_a_setting_that_does_not_exist_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        settings.parse(text)


def linear_network(kernel):
    """Two convolutions without activation: what mixing does to the second is known."""
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 1, name="first")(inputs)
    x = keras.layers.Conv2D(5, kernel, padding="same", name="second")(x)
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))


def rows_of(network, texts, rng, at=None, mixer=None, **arguments):
    images = blobs(rng, size=24, height=16, width=16).astype("float32")
    mixer = mixer or layers.CutMix(seed=3)
    diagnosis = diagnose(
        network, images, mixer, [settings.parse(text) for text in texts], at, batch_size=12, **arguments
    )
    return {(row["setting"], row["stage"]): row for row in diagnosis["rows"]}, diagnosis


def test_a_linear_block_distorts_nothing_but_what_its_kernel_sees(rng):
    texts = ["naive", "mma(temperature=1)"]
    rows, diagnosis = rows_of(linear_network(1), texts, rng, ["first"])
    assert diagnosis["blocks"] == {"first": "second"} and diagnosis["images"] == 24
    for text in texts:
        assert rows[text, "first"]["distortion_near"] < 1e-5 and rows[text, "first"]["distortion_rest"] < 1e-5
    rows, _ = rows_of(linear_network(3), texts, rng, ["first"])
    assert rows["naive", "first"]["distortion_near"] > 0.01 and rows["naive", "first"]["distortion_rest"] < 1e-5
    assert rows["mma(temperature=1)", "first"]["distortion_near"] < rows["naive", "first"]["distortion_near"]


def test_token_sequences_are_measured_as_maps(rng):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(6, 4, strides=4)(inputs)
    x = keras.layers.Reshape((16, 6), name="tokens")(x)
    x = keras.layers.Dense(5, name="mlp")(x)
    network = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(x)))
    rows, diagnosis = rows_of(network, ["naive", "plain(temperature=1)"], rng, ["tokens"])
    assert diagnosis["blocks"] == {"tokens": "mlp"}
    for row in rows.values():
        assert row["distortion_all"] < 1e-5
    np.testing.assert_allclose(rows["naive", "tokens"]["jump"], 1.0, atol=1e-6)
    assert 0.3 < rows["plain(temperature=1)", "tokens"]["jump"] < 0.6


def test_figures_that_follow_from_the_setting(rng):
    texts = [
        "naive",
        "plain(attention=None)",
        "plain(smooth=False)",
        "plain(preserve_ratio=True,temperature=2)",
        "plain(label=mixer,temperature=5)",
    ]
    rows, diagnosis = rows_of(WideResNet(10, 1, (16, 16, 3), 4), texts, rng)
    assert diagnosis["stages"] == ["stage1", "stage2", "stage3"]
    assert diagnosis["blocks"] == {"stage1": "stage2", "stage2": "stage3", "stage3": "head_relu"}
    sigmoid = 1 / (1 + math.exp(-4))  # the mask in the box and outside it, at T 0.25
    for stage in diagnosis["stages"]:
        for text in ("naive", "plain(smooth=False)"):
            np.testing.assert_allclose(rows[text, stage]["jump"], 1.0, atol=1e-6)
        np.testing.assert_allclose(rows["plain(attention=None)", stage]["jump"], 2 * sigmoid - 1, atol=1e-5)
        assert rows["naive", stage]["correlation"] == 0 and rows["naive", stage]["deviation"] == 0
        np.testing.assert_allclose(rows["plain(preserve_ratio=True,temperature=2)", stage]["spread"], 1.0, atol=1e-3)
        np.testing.assert_allclose(rows["plain(label=mixer,temperature=5)", stage]["spread"], 1.0, atol=1e-6)
    np.testing.assert_allclose(rows["naive", "stage1"]["difference"], 0.0, atol=1e-6)
    for row in diagnosis["mismatch"]:
        assert -1 <= row["correlation"] <= 1 and row["attention_deviation"] > 0


def test_the_additive_mask_follows_the_attention(rng):
    text = "plain(temperature=1,combine=add,preserve_ratio=True)"
    rows, _ = rows_of(WideResNet(10, 1, (16, 16, 3), 4), [text], rng, with_distortion=False)
    for row in rows.values():
        assert row["correlation"] > 0.9 and row["distortion_near"] is None


def test_a_soft_mask_has_no_edge(rng):
    rows, diagnosis = rows_of(WideResNet(10, 1, (16, 16, 3), 4), ["mma()"], rng, mixer=layers.MixUp(seed=1))
    for row in rows.values():
        assert row["jump"] is None and row["correlation"] is not None
    assert diagnosis["mixer_spread"] > 0


def test_the_mixer_may_use_the_network(rng):
    mixer = layers.SaliencyMix(detector="activation", attribution_layer="stage2", probability=0.0, seed=1)
    _, diagnosis = rows_of(WideResNet(10, 1, (16, 16, 3), 4), ["mma()"], rng, at=["stage2"], mixer=mixer)
    # The saliency is the attention, but for being resized to the images and back; and all samples are mixed.
    assert diagnosis["mismatch"][0]["correlation"] > 0.9 and diagnosis["mixer_spread"] > 0.1


def test_mixing_points_that_do_not_exist_are_refused(rng):
    with pytest.raises(InputError, match="`at` must name"):
        rows_of(linear_network(1), ["naive"], rng, ["third"])


@pytest.fixture
def saved_network(needs_tensorflow, tmp_path):
    path = tmp_path / "network.keras"
    WideResNet(10, 1, (16, 16, 1), 10).save(path)
    return str(path)


def test_the_command_writes_a_record_a_page_and_a_picture(saved_network, tmp_path, capsys):
    words = ["--dataset", "digits", "--model", saved_network, "--images", "12", "--at", "stage2", "--only-settings"]
    words += [
        "--settings",
        "soft=mma(temperature=1, combine=add)",
        "naive",
        "--output",
        str(tmp_path / "out" / "t0.5"),
    ]
    command.main(words)
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["t0.5.json", "t0.5.md", "t0.5.png"]
    record = json.loads((tmp_path / "out" / "t0.5.json").read_text())
    assert [row["setting"] for row in record["diagnosis"]["rows"]] == ["soft", "naive"]
    assert (tmp_path / "out" / "t0.5.md").read_text() == page.render(record)
    printed = capsys.readouterr().out
    assert "soft" in printed and "limits: jump at most 0.5, spread at least 0.9, correlation at least 0.5" in printed


@pytest.mark.parametrize(
    "words, message",
    [
        (["--mixer", "blender"], "--mixer must be one of"),
        (["--mixer", "cutmix(alpha=-1)"], "alpha"),
        (["--mixer", "resizemix"], "--mixer must not move or resize the image"),
        (["--at", "nothing"], "--at must name layers with feature maps"),
        (["--output", "/dev/null/x"], "--output /dev/null/x cannot be written"),
        (["--settings", "mma(warmth=1)"], "warmth"),
        (["--only-settings"], "--settings must name"),
        (["--dataset", "nothing"], "--dataset must be"),
        (["--model", "missing.keras"], "missing.keras cannot be loaded"),
        (["--save", "missing/network.keras"], "--save must be a .keras file in a folder that exists"),
    ],
)
def test_bad_input_is_one_line(needs_tensorflow, capsys, words, message):
    with pytest.raises(SystemExit, match="2"):
        command.main(words)
    printed = capsys.readouterr().err.strip().splitlines()
    assert len(printed) == 1 and message in printed[0]


@pytest.mark.parametrize(
    ("jump", "spread", "words"),
    [
        (0.4, 1.0, "keeps all"),
        (0.6, 0.5, "misses jump, spread"),
        (None, 1.0, "keeps the others; jump not measured"),
        (None, 0.5, "misses spread; jump not measured"),
    ],
)
def test_a_limit_without_a_figure_is_not_kept(jump, spread, words):
    assert command.verdict_of({"jump": jump, "spread": spread, "correlation": 0.9}) == words


def test_the_search_has_no_setting_twice():
    spellings = [setting.spelling for setting in settings.search()]
    assert len(spellings) == len(set(spellings)) == 576


def test_the_page_lists_the_settings_of_a_search_that_keep_all_limits():
    good = {"jump": 0.4, "spread": 1.0, "correlation": 0.6, "deviation": 0.1, "difference": 0.2}
    texts = [
        "plain(temperature=1,combine=add)",
        "plain(temperature=2,combine=add)",
        "plain(temperature=2,combine=add,blur=1)",
        "plain(temperature=1)",
    ]
    rows = [good | {"spelling": text, "stage": stage} for text in texts for stage in ("stage1", "stage2")]
    rows[3]["jump"] = rows[7]["correlation"] = 0.45  # T 2 still keeps the limit, the last one does not
    rows[5]["jump"] = 0.51
    lines = page._search({"rows": rows})
    assert "2 of 4 combinations" in " ".join(lines)
    assert "| `combine=add` | 1, 2 | – |" in lines and not any(line.startswith("| `plain`") for line in lines)
    assert "| `plain(temperature=2,combine=add)` | 0.45 | 1.00 | 0.60 | 0.10 | 0.20 |" in lines


def test_the_recorded_command_names_no_folder_of_the_data():
    words = ["--dataset", "cifar10", "--data-dir", "/somewhere", "--settings", "a=mma()", "--save", "x.keras"]
    expected = "python -m benchmarks.mask_adaptation --dataset cifar10 --settings 'a=mma()'"
    assert recorded_command("mask_adaptation", words) == expected


def test_the_committed_page_is_that_of_the_record():
    record = json.loads(RECORD.read_text())
    assert RECORD.with_suffix(".md").read_text() == page.render(record)
    assert RECORD.with_suffix(".png").exists() and record["picture"] == RECORD.with_suffix(".png").name


def test_the_default_keeps_all_limits_at_every_stage_of_a_trained_network():
    rows = [row for row in json.loads(RECORD.read_text())["diagnosis"]["rows"] if row["setting"] == "both (default)"]
    assert [row["stage"] for row in rows] == ["stage1", "stage2", "stage3"]
    for row in rows:
        assert row["jump"] <= 0.5 and row["spread"] >= 0.9 and row["correlation"] >= 0.5
    assert json.loads(RECORD.read_text())["defaults"] == settings.defaults()  # of another default it says nothing
    layer = layers.FeatureMixAdapt(1)
    assert (layer.preserve_ratio, layer.edge_blur) == (True, 1.0)


def test_masks_without_an_edge_have_a_worst_figure():
    row = {"spread": None, "correlation": 0.9, "deviation": 0.1, "difference": 0.2}
    assert page._worst([row | {"jump": None}, row | {"jump": 0.3}])["jump"] == 0.3
    assert page._worst([row | {"jump": None}]) == row | {"jump": None}
