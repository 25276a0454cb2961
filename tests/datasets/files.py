"""Image files for the tests."""

import numpy as np


def pixels(height=16, width=16, seed=0):
    """uint8 RGB noise over a slope."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(0, 120, height)[:, None, None] + np.linspace(0, 60, width)[:, None]
    return (slope + rng.integers(0, 70, (height, width, 3))).astype("uint8")


def save_classes(path, counts=(("a", 4), ("b", 4)), height=16, width=16):
    """`path/CLASS/NUMBER.png`, each file with pixels of its own, seeded in the order of the names."""
    from PIL import Image

    seed = 0
    for name, count in counts:
        (path / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(pixels(height, width, seed)).save(path / name / f"{number:0{len(str(count - 1))}}.png")
            seed += 1
