"""Pictures of mixed batches, of adapted masks and of training curves. Requires matplotlib (the `viz` extra)."""

from keras_mma.visualization.history import plot_history
from keras_mma.visualization.mixing import plot_adaptation, plot_gallery, plot_mixing, show_mixing

__all__ = ["plot_adaptation", "plot_gallery", "plot_history", "plot_mixing", "show_mixing"]
