"""Gradient attacks on a classifier, with a bound on the change of each pixel."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_mma.robustness.perturbations.seeds import generators

#: Random starts of PGD by default.
RESTARTS = 2
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
    return _along(pixels, gradient, epsilon)


def _along(pixels, gradient, epsilon):
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
    attacked, low, high = _start(pixels, epsilon, rngs)
    for _ in range(steps):
        _, gradient = classifier.attack_gradient(attacked, labels)
        attacked = _step(attacked, gradient, low, high, epsilon, steps)
    return attacked


def _start(pixels, epsilon, rngs):
    """The random start, and the smallest and largest values of the attacked images."""
    pixels = pixels.astype("float32")
    low, high = np.maximum(pixels - np.float32(epsilon), 0), np.minimum(pixels + np.float32(epsilon), 255)
    start = np.stack([rng.uniform(-epsilon, epsilon, pixels.shape[1:]) for rng in rngs]).astype("float32")
    return np.clip(pixels + start, low, high), low, high


def _step(attacked, gradient, low, high, epsilon, steps):
    return np.clip(attacked + np.float32(2.5 * epsilon / steps) * np.sign(gradient), low, high)


class FastGradient(NamedTuple):
    """What `measure_fgsm` returns, for n images.

    Args:
        correct: Which images are classified correctly without an attack, booleans (n,).
        zero: Which images have a gradient of zero, booleans (n,).
        survivors: List for each epsilon: which images are classified correctly with and without attack, booleans (n,).
    """

    correct: np.ndarray
    zero: np.ndarray
    survivors: list


def is_correct(outputs, labels):
    """Whether outputs (n, classes) are largest for the labels. NaN and infinity are not; some may be minus infinity."""
    is_known = (outputs < np.inf).all(axis=1) & np.isfinite(outputs.max(axis=1))
    return is_known & (outputs.argmax(axis=1) == labels)


def measure_fgsm(classifier, pixels, labels, epsilons):
    """Attack images by `fgsm` at several epsilons, with one gradient.

    Args:
        classifier, pixels, labels: As for `fgsm`.
        epsilons: Largest changes of a value, in levels of 255.

    Returns:
        `FastGradient`.
    """
    pixels = pixels.astype("float32")
    outputs, gradient = classifier.attack_gradient(pixels, labels)
    correct = is_correct(outputs, labels)
    survivors = []
    for epsilon in epsilons:
        alive = correct.copy()
        if correct.any():
            attacked = _along(pixels[correct], gradient[correct], epsilon)
            alive[correct] = is_correct(classifier.predict(attacked), labels[correct])
        survivors.append(alive)
    return FastGradient(correct, ~gradient.any(axis=(1, 2, 3)), survivors)


class Source(NamedTuple):
    """Where `measure_pgd` reads images.

    Args:
        batches: Function that takes an array of places among all images and yields batches of them, in that order:
            their indices in the dataset, which choose the random starts, their pixels and their labels.
        batch_size: Number of images that are attacked at once.
    """

    batches: Callable
    batch_size: int


def measure_pgd(classifier, source, alive, epsilon, seed=0, steps=20, restarts=1, on_progress=lambda count: None):
    """Attack images by `pgd` until they are misclassified.

    Args:
        classifier: As for `fgsm`.
        source: `Source` of n images.
        alive: Which images are attacked, booleans (n,): those that are classified correctly without an attack and that
            survive every smaller epsilon, because what misclassifies an image there lies in the ball of this one too.
        epsilon: Largest change of a value, in levels of 255.
        seed: Non-negative integer.
        steps: Number of steps.
        restarts: Number of random starts.
        on_progress: Function that is called with the number of images of which the result is known.

    Returns:
        Which images survive, booleans (n,): `alive` without those that are misclassified at a random start or after
        any of the steps.
    """
    alive = alive.copy()
    on_progress(int((~alive).sum()))
    for restart in range(restarts):
        places = np.flatnonzero(alive)
        starts = _starts(source.batches(places), epsilon, seed, f"attack/pgd/{epsilon:g}/{restart}")
        for numbers, survived in _ascend(classifier, starts, epsilon, steps, source.batch_size):
            alive[places[numbers]] = survived
            on_progress(len(numbers) if restart == restarts - 1 else int((~survived).sum()))
    return alive


class _Attacked(NamedTuple):
    """Images in an attack, an array of each: number in the sequence, label, values, their bounds, and steps made."""

    number: np.ndarray
    label: np.ndarray
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    age: np.ndarray

    def of(self, rows):
        return _Attacked(*(array[rows] for array in self))


def _starts(batches, epsilon, seed, part):
    """Yield an `_Attacked` of one image after the other, at its random start."""
    number = itertools.count()
    for indices, pixels, labels in batches:
        for row, rng in enumerate(generators(seed, part, indices)):
            image = slice(row, row + 1)
            start = _start(pixels[image], epsilon, [rng])
            yield _Attacked(np.array([next(number)]), labels[image], *start, np.zeros(1, "int64"))


def _ascend(classifier, starts, epsilon, steps, batch_size):
    """Attack images from their starts, `batch_size` at once.

    The next image takes the place of one that is misclassified or has made all steps, so that batches stay full: a
    model with a fixed batch size, which pads smaller ones, gains as much as any other.

    Yields:
        Numbers of images, and whether they survived; two arrays.
    """
    running, ended = [], []
    while new := running + list(itertools.islice(starts, batch_size - _count(running))):
        attacked = _join(new)
        outputs, gradient = classifier.attack_gradient(attacked.values, attacked.label)
        correct = is_correct(outputs, attacked.label)
        yield attacked.number[~correct], correct[~correct]
        attacked, gradient = attacked.of(correct), gradient[correct]
        values = _step(attacked.values, gradient, attacked.low, attacked.high, epsilon, steps)
        attacked = attacked._replace(values=values, age=attacked.age + 1)
        is_last = attacked.age == steps
        running = _parts(attacked.of(~is_last))
        ended += _parts(attacked.of(is_last))
        if _count(ended) >= batch_size:
            attacked = _join(ended)
            ended = _parts(attacked.of(slice(batch_size, None)))
            yield _outcome(classifier, attacked.of(slice(batch_size)))
    if ended:
        yield _outcome(classifier, _join(ended))


def _outcome(classifier, attacked):
    return attacked.number, is_correct(classifier.predict(attacked.values), attacked.label)


def _join(parts):
    return _Attacked(*map(np.concatenate, zip(*parts, strict=True)))


def _parts(attacked):
    """The list of these images, which is empty if there are none."""
    return [attacked] if len(attacked.number) else []


def _count(parts):
    return sum(len(part.number) for part in parts)
