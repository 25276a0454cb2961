"""Named settings of a recipe."""

#: Settings by name. Options replace single settings.
REGIMES = {
    # Effects are large and training runs short: 4,500 to 5,000 images of 16 pixels and no other augmentation.
    "visible": {
        "dataset": "cifar10",
        "fraction": 0.1,
        "image_size": 16,
        "resize": "area",
        "augmentation": False,
        "network": "wideresnet-10-2",
        "epochs": 100,
        "batch_size": 100,
        "optimizer": "sgd",
        "schedule": "cosine",
        "learning_rate": 0.1,
        "weight_decay": 5e-4,
    },
    # The CutMix example of keras.io, whose network has a weight penalty of its own. There, CutMix mixes all images with
    # alpha = 0.25, and the training without CutMix is not shuffled; here it is.
    "recognised": {
        "dataset": "cifar10",
        "fraction": 1.0,
        "augmentation": False,
        "network": "resnet20",
        "epochs": 15,
        "batch_size": 32,
        "optimizer": "adam",
        "schedule": "constant",
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
    },
    # The recipe of the papers: crop, flip, 200 epochs.
    "realistic": {
        "dataset": "cifar10",
        "fraction": 1.0,
        "augmentation": True,
        "network": "preactresnet18",
        "epochs": 200,
        "batch_size": 128,
        "optimizer": "sgd",
        "schedule": "cosine",
        "learning_rate": 0.1,
        "weight_decay": 5e-4,
    },
}
