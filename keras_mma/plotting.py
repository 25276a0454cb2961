"""The style of every plot of the package: colors, fonts, and figures without global state.

The colors are those of Okabe and Ito, which can be distinguished with any kind of color vision, and whose first three
differ in print without color too.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_mma import files
from keras_mma.errors import InputError
from keras_mma.terminal import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW, BLACK = COLORS = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7"),
    *("#56B4E9", "#D55E00", "#F0E442", "#000000"),
)
GRAY = "#888888"
MARKERS = "osD^vP*X"
_RC = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "font.size": 9,
    "grid.alpha": 0.3,
    "legend.fontsize": 8,
    "legend.frameon": False,
}


def require() -> None:
    """Raise an `InputError` unless matplotlib is installed. To be called before work whose plots come at its end."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError("plots need matplotlib: pip install 'keras-mma[viz]'") from error


def plain(text: object) -> str:
    """Untrusted text, such as the name of a class, for matplotlib, which reads mathematics between two `$`."""
    return printable(text).replace("$", r"\$")


@contextlib.contextmanager
def style() -> Iterator[None]:
    """A context in which matplotlib draws in the style of the package."""
    require()
    import matplotlib
    from cycler import cycler

    with matplotlib.rc_context({**_RC, "axes.prop_cycle": cycler(color=COLORS[:6] + COLORS[7:])}):
        yield


def new_figure(width: float | None = None, height: float | None = None) -> "Figure":
    """An empty figure that belongs to no window. Draw on it within `style()`.

    Args:
        width: Width in inches; matplotlib's own size without it.
        height: Height in inches.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=None if width is None or height is None else (width, height), layout="constrained")


def png(figure: "Figure", **arguments: Any) -> bytes:
    """The figure as the content of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", **{"dpi": 120, "metadata": {"Software": None}, **arguments})
    return buffer.getvalue()


def save(figure: "Figure", path: str | os.PathLike | None) -> None:
    """Write the figure to a PNG file, for which folders are created; nothing for `None`."""
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        files.write(path, png(figure))
