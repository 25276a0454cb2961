"""Training curves."""

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_mma import plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_history(
    history: dict[str, list[float]], path: str | os.PathLike | None = None, *, mixed: bool = True
) -> "Figure":
    """Plot training curves.

    Args:
        history: Dict of lists, as `History.history`. Fewer values of the validation are those of every k-th epoch.
        path: PNG file to which the plot is saved, or `None`.
        mixed: Whether the labels of the training were mixed, as the legend says.

    Returns:
        The matplotlib figure: one panel for the loss, one for each other metric, training and validation in each.
    """
    names = [name for name in history if not name.startswith("val_") and name not in ("epoch", "learning_rate")]
    with plotting.style():
        figure = plotting.new_figure(4.5 * len(names), 3.2)
        for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            for key, label in ((name, f"training{' (mixed labels)' * mixed}"), (f"val_{name}", "validation")):
                if history.get(key):
                    step = max(1, len(history[name]) // len(history[key]))  # `validation_freq` of `fit`
                    epochs: Any = step * np.arange(1, len(history[key]) + 1)
                    axis.plot(epochs, history[key], marker=".", label=label)
            axis.set(xlabel="epoch", title=name)
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.legend()
    plotting.save(figure, path)
    return figure


def show_history(history: dict[str, list[float]], path: str | os.PathLike | None = None) -> "Figure":
    """`plot_history` by its former name.

    Args:
        history, path: See `plot_history`.

    Returns:
        The matplotlib figure.
    """
    return plot_history(history, path)
