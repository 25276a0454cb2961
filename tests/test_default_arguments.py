"""The default arguments of every public constructor and function: whoever changes one changes results of users."""

import inspect

from tests.test_public_names import LISTED, issubclass_of_exception, resolve

#: Own arguments only: mixers also take those of `Mixer`, layers at feature sites those of `FeatureMixer`.
DEFAULTS = {
    "callbacks.MixingMonitor": {
        "labels": None,
        "class_names": None,
        "frequency": None,
        "samples": 4,
        "tensorboard": None,
    },
    "callbacks.MixingSchedule": {"probability": None, "alpha": None, "active": (None, None)},
    "datasets.Dataset": {
        "exact": True,
        "identity": "",
        "flip": True,
        "decoding": "uint8 arrays, used as they are",
        "selection": "all images",
        "skipped": (),
    },
    "datasets.Parts": {"validation_fraction": 0.1, "seed": 0},
    "datasets.load": {
        "data_dir": None,
        "image_size": None,
        "resize": "antialiased",
        "validation_fraction": 0.1,
        "seed": 0,
        "skip_damaged": False,
    },
    "layers.AttentiveMix": {"grid": 7, "count": 6, "alpha": 1.0, "detector": "fine_grained"},
    "layers.CatchUpMix": {"label": "adapted", "grid": None, "data_format": None},
    "layers.CutMix": {"alpha": 1.0, "per": "sample", "border": "clip"},
    "layers.FMix": {"alpha": 1.0, "decay": 3.0},
    "layers.FeatureMixAdapt": {
        "temperature": 0.5,
        "attention": "activation",
        "attention_spread": 1.0,
        "combine": "add",
        "preserve_ratio": None,
        "resize": "area",
        "edge_blur": None,
        "smooth": True,
    },
    "layers.FeatureMixer": {"label": "adapted", "grid": None, "data_format": None},
    "layers.FollowPlan": {"data_format": None},
    "layers.GMix": {"alpha": 1.0},
    "layers.GridMix": {"alpha": 1.0, "grid": 4},
    "layers.GuidedMixup": {"blur_sigma": 3.0, "detector": "smooth_spectral_residual", "partner": "distance"},
    "layers.HMix": {"alpha": 1.0, "ratio": 0.5},
    "layers.MixUp": {"alpha": 1.0, "per": "sample"},
    "layers.Mixer": {
        "probability": 1.0,
        "sites": (0,),
        "site_weights": None,
        "partner": "shuffle",
        "detector": None,
        "detector_size": None,
        "attribution_layer": None,
        "label": "area",
        "num_classes": None,
        "ignore_zero_weight": False,
        "requires_mix_model": True,
        "data_format": None,
        "seed": None,
    },
    "layers.PuzzleMix": {
        "alpha": 1.0,
        "grids": (2, 4, 8, 16),
        "beta": 1.2,
        "gamma": 0.5,
        "eta": 0.2,
        "transport": False,
        "xi": 0.8,
        "detector": "fine_grained",
    },
    "layers.RandomChoice": {"mixers": None, "probabilities": None, "per": "step"},
    "layers.ResizeMix": {"scale": (0.1, 0.8)},
    "layers.SaliencyGrafting": {
        "alpha": 1.0,
        "grid": 4,
        "temperature": 1.0,
        "threshold": None,
        "norm": 2,
        "detector": "fine_grained",
        "label": "saliency",
    },
    "layers.SaliencyMix": {
        "alpha": 1.0,
        "scheme": "salient_to_corresponding",
        "border": "shift",
        "box": "sample",
        "ties": "random",
        "detector": "fine_grained",
    },
    "layers.SmoothMix": {"sigma": (0.25, 0.5)},
    "layers.masks.Box": {"source": None},
    "layers.masks.Dense": {"source": None, "own_source": None},
    "metrics.DominantAccuracy": {"name": "dominant_accuracy", "dtype": None, "threshold": 0.5},
    "metrics.WeightedAccuracy": {"name": "weighted_accuracy", "dtype": None, "threshold": 0.5},
    "models.MixModel": {"name": None},
    "models.PreActResNet18": {
        "input_shape": (32, 32, 3),
        "classes": 10,
        "name": "preact_resnet18",
        "preprocessing": (),
        "final_activation": False,
    },
    "models.ResNet20": {
        "input_shape": (32, 32, 3),
        "classes": 10,
        "name": "resnet20",
        "preprocessing": (),
        "l2": 0.0001,
    },
    "models.WideResNet": {"input_shape": (32, 32, 3), "classes": 10, "dropout": 0.0, "name": None, "preprocessing": ()},
    "models.mixify": {"at": None, "name": None, "adapter": None, "image": None},
    "models.mixing_points": {"data_format": None, "image": None},
    "plans.mix_images": {"data_format": "channels_last", "source": None, "own_source": None},
    "plans.mix_segmentation_masks": {"source": None, "own_source": None},
    "resampling.resize": {"method": "area"},
    "robustness.Options": {
        "only": None,
        "limit": None,
        "batch_size": 128,
        "seed": 0,
        "preprocess": None,
        "outputs": None,
        "signature": None,
        "output_name": None,
        "corruptions": "regenerate",
        "extra_corruptions": False,
        "frost_textures": None,
        "baseline": None,
        "epsilons": None,
        "steps": 20,
        "restarts": 2,
        "detector": "fine_grained",
        "data_dir": None,
        "image_size": None,
        "resize": "antialiased",
        "skip_damaged": False,
        "output": None,
        "progress": False,
    },
    "robustness.Preprocess": {"scale": 1.0, "mean": (0.0,), "std": (1.0,), "order": "rgb"},
    "robustness.compare": {"output": None, "against": None},
    "robustness.corrupt": {"seed": 0, "indices": None, "frost_textures": None},
    "robustness.deform": {"seed": 0, "indices": None},
    "robustness.load": {"signature": None, "preprocess": None, "output_name": None},
    "robustness.occlude": {"saliency": None, "seed": 0, "indices": None},
    "saliency.Detector": {"is_pure": False},
    "saliency.fine_grained": {"size": None, "data_format": "channels_last"},
    "saliency.fine_grained_misread": {"size": None, "data_format": "channels_last"},
    "saliency.frequency_tuned": {"size": None, "data_format": "channels_last"},
    "saliency.smooth_spectral_residual": {"size": None, "data_format": "channels_last"},
    "saliency.spectral_residual": {"size": None, "data_format": "channels_last"},
    "sampling.uniform": {"minval": 0.0, "maxval": 1.0},
    "visualization.plot_adaptation": {"samples": 4, "path": None},
    "visualization.plot_gallery": {"labels": None, "class_names": None, "path": None},
    "visualization.plot_history": {"path": None, "mixed": True, "validation_freq": 1},
    "visualization.plot_mixing": {"labels": None, "class_names": None, "samples": 6, "features": None, "path": None},
    "visualization.show_mixing": {"samples": 6, "features": None, "path": None},
}


#: Base classes, and the layer whose `None` stands for mixers that are made when it is.
NOT_SAVED = ("layers.Mixer", "layers.FeatureMixer", "layers.FollowPlan", "layers.RandomChoice")


#: What defaults of `None` that depend on other arguments stand for, as it is saved.
RESOLVED = {"layers.FeatureMixAdapt": {"preserve_ratio": True, "edge_blur": 1.0}}


def defaults_of(value):
    """Dict from arguments to defaults, without functions."""
    parameters = inspect.signature(value).parameters.values()
    return {
        each.name: each.default for each in parameters if not (each.default is each.empty or callable(each.default))
    }


def test_defaults_are_those_of_the_table():
    values = {name.removeprefix("keras_mma."): resolve(name) for name in LISTED}
    values = {name: value for name, value in values.items() if callable(value) and not issubclass_of_exception(value)}
    # With its type: 1 is neither 1.0 nor True.
    assert {name: repr(found) for name, value in values.items() if (found := defaults_of(value))} == {
        name: repr(table) for name, table in DEFAULTS.items()
    }


def test_defaults_of_layers_are_those_that_are_saved():
    for name, table in DEFAULTS.items():
        cls = resolve(f"keras_mma.{name}")
        if name.startswith("layers.") and "get_config" in vars(cls) and name not in NOT_SAVED:
            is_at_site = "site" in inspect.signature(cls).parameters or name.endswith("CatchUpMix")
            config = (cls(1) if is_at_site else cls()).get_config()
            shared = config.keys() & table.keys()
            expected = table | RESOLVED.get(name, {})
            assert {key: plain(config[key]) for key in shared} == {key: plain(expected[key]) for key in shared}, name


def plain(value):
    """With its type, and a tuple as the list that a file holds."""
    return repr(list(value) if isinstance(value, tuple) else value)
