"""Training curves."""

import os
from typing import TYPE_CHECKING

from keras_mma import plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_history(
    history: dict[str, list[float]],
    path: str | os.PathLike | None = None,
    *,
    mixed: bool = True,
    validation_freq: int | list[int] = 1,
) -> "Figure":
    """Plot training curves.

    Args:
        history: Dict of lists, as `History.history`.
        path: PNG file to which the plot is saved, or `None`.
        mixed: Whether the labels of the training were mixed, as the legend says.
        validation_freq: The epochs of the validation, as they were given to `fit`.

    Returns:
        The matplotlib figure: one panel for the loss, one for each other metric, training and validation in each.

    Example:

    >>> history = {"loss": [2.1, 1.9], "accuracy": [0.2, 0.3], "val_loss": [2.0, 1.7], "val_accuracy": [0.25, 0.4]}
    >>> figure = keras_mma.visualization.plot_history(history)
    >>> [axis.get_title() for axis in figure.axes]
    ['loss', 'accuracy']
    """
    names = [name for name in history if not name.startswith("val_") and name not in ("epoch", "learning_rate")]
    with plotting.style():
        figure = plotting.new_figure(4.5 * len(names), 3.2)
        for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            for key, label in ((name, f"training{' (mixed labels)' * mixed}"), (f"val_{name}", "validation")):
                if key in history:
                    epochs = list(range(1, len(history[name]) + 1))
                    if key != name:
                        epochs = [epoch for epoch in epochs if _is_validated(epoch, validation_freq)]
                    axis.plot(epochs[: len(history[key])], history[key], marker=".", label=label)
            axis.set(xlabel="epoch", title=name)
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.legend()
    plotting.save(figure, path)
    return figure


def _is_validated(epoch: int, frequency: int | list[int]) -> bool:
    return epoch % frequency == 0 if isinstance(frequency, int) else epoch in frequency
