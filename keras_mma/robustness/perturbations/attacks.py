"""Gradient attacks on a classifier, with a bound on the change of each pixel."""

import numpy as np

from keras_mma.robustness.perturbations.seeds import generators

# The attacks, and the largest changes in levels of 255 with which they are measured by default.
ATTACKS = {"fgsm": (2, 4, 8), "pgd": (4, 8)}


def fgsm(classifier, pixels, labels, epsilon):
    """The fast gradient sign method.

        x' = clip(x + epsilon sign(dL / dx)),    L the cross-entropy; see `conventions.margin_gradient`

    Args:
        classifier: A `Classifier`. Its preprocessing is attacked too, so that epsilon is the same change of the picture
            whatever the model's input range.
        pixels: Images (n, height, width, channels) 0 to 255.
        labels: Class indices (n,).
        epsilon: Largest change of a value, in levels of 255.

    Returns:
        Float32 images 0 to 255.

    References:
        - I. Goodfellow, J. Shlens, C. Szegedy, Explaining and harnessing adversarial examples, ICLR 2015,
          arXiv:1412.6572, section 4.
    """
    pixels = pixels.astype("float32")
    _, gradient = classifier.attack_gradient(pixels, labels)
    return np.clip(pixels + np.float32(epsilon) * np.sign(gradient), 0, 255)


def pgd(classifier, pixels, labels, epsilon, rngs, steps=20):
    """Projected gradient descent from a random start.

        x_0 = clip(x + u), u ~ U(-epsilon, epsilon)
        x_t+1 = clip(P(x_t + a sign(dL / dx_t))),    a = 2.5 epsilon / steps

    P projects onto the values at most epsilon from x.

    Args:
        classifier, pixels, labels, epsilon: As for `fgsm`.
        rngs: A random generator for each image.
        steps: Number of steps.

    Returns:
        Float32 images 0 to 255.

    References:
        - A. Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018, arXiv:1706.06083.
    """
    pixels = pixels.astype("float32")
    low, high = np.maximum(pixels - np.float32(epsilon), 0), np.minimum(pixels + np.float32(epsilon), 255)
    start = np.stack([rng.uniform(-epsilon, epsilon, pixels.shape[1:]) for rng in rngs]).astype("float32")
    attacked = np.clip(pixels + start, low, high)
    step = np.float32(2.5 * epsilon / steps)
    for _ in range(steps):
        _, gradient = classifier.attack_gradient(attacked, labels)
        attacked = np.clip(attacked + step * np.sign(gradient), low, high)
    return attacked


def survives(classifier, pixels, labels, name, epsilon, seed=0, indices=None, steps=20, restarts=1):
    """Which images are classified correctly, with and without attack.

    Args:
        classifier, pixels, labels: As for `fgsm`.
        name: `"fgsm"` or `"pgd"`.
        epsilon: Largest change of a value, in levels of 255.
        seed: Non-negative integer.
        indices: Indices of the images in their dataset, which choose the random starts; 0 to n - 1 by default.
        steps: Number of steps of PGD.
        restarts: Number of random starts of PGD. An image must survive all of them.

    Returns:
        A boolean array (n,). An image that is misclassified without attack does not survive.
    """
    indices = np.arange(len(pixels)) if indices is None else np.asarray(indices)
    alive = classifier.predict(pixels).argmax(axis=1) == labels
    for restart in range(restarts if name == "pgd" else 1):
        rows = np.flatnonzero(alive)
        if len(rows) == 0:
            break
        if name == "fgsm":
            attacked = fgsm(classifier, pixels[rows], labels[rows], epsilon)
        else:
            rngs = generators(seed, f"attack/pgd/{epsilon:g}/{restart}", indices[rows])
            attacked = pgd(classifier, pixels[rows], labels[rows], epsilon, rngs, steps)
        alive[rows] = classifier.predict(attacked).argmax(axis=1) == labels[rows]
    return alive
