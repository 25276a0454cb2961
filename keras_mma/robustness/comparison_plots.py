"""Plots over several reports: errors side by side, and their differences."""

from keras_mma import plotting


def errors(columns, names, figure):
    """Errors side by side, a row for each. A dash stands where a report lacks what others have.

    Args:
        columns: Dict from labels to errors for each report.
        names: Names of the reports.
        figure: An empty figure.
    """
    labels = list(dict.fromkeys(label for column in columns for label in column))
    figure.set_size_inches(7.5, 1.2 + 0.24 * len(labels) + 0.2 * len(columns))
    axis = figure.subplots()
    step = 0.6 / max(1, len(columns) - 1)
    for number, (column, name) in enumerate(zip(columns, names, strict=True)):
        rows = [row + number * step - 0.3 * (len(columns) > 1) for row in range(len(labels))]
        shown = [row for row, label in zip(rows, labels, strict=True) if label in column]
        values = [100 * column[label] for label in labels if label in column]
        marker, color = _look(number)
        axis.plot(values, shown, marker, color=color, markersize=5, clip_on=False, label=plotting.plain(name))
        for row, label in zip(rows, labels, strict=True):
            if label not in column:
                axis.text(0.5, row, "–", ha="left", va="center", weight="bold", color=color)
    axis.set(xlabel="error in %", xlim=(0, 100))
    _finish(figure, axis, labels)


def differences(rows, names, figure):
    """Paired differences with their intervals, a row for each.

    Args:
        rows: What `comparison.differences` returned.
        names: Names of the columns.
        figure: An empty figure.
    """
    figure.set_size_inches(7.5, 1.2 + 0.24 * len(rows) + 0.2 * len(names))
    axis = figure.subplots()
    axis.axvline(0, color=plotting.BLACK, linewidth=1)
    step = 0.6 / max(1, len(names) - 1)
    for number, name in enumerate(names):
        marker, color = _look(number)
        cells = [
            (row + number * step - 0.3 * (len(names) > 1), row_cells[number])
            for row, row_cells in enumerate(rows.values())
            if row_cells[number] is not None
        ]
        means = [100 * cell.mean for _, cell in cells]
        places = [row for row, _ in cells]
        axis.plot(means, places, marker, color=color, markersize=4, label=plotting.plain(name))
        spans = [(row, cell) for row, cell in cells if cell.low is not None]
        axis.hlines(
            [row for row, _ in spans],
            [100 * cell.low for _, cell in spans],
            [100 * cell.high for _, cell in spans],
            color=color,
            linewidth=1.2,
        )
    axis.set(xlabel="difference of errors in points (negative: fewer errors)")
    _finish(figure, axis, list(rows))


def _look(number):
    return plotting.MARKERS[number % len(plotting.MARKERS)], plotting.COLORS[number % len(plotting.COLORS)]


def _finish(figure, axis, labels):
    for row in range(1, len(labels), 2):
        axis.axhspan(row - 0.5, row + 0.5, color="#F3F3F3", zorder=0)
    axis.set_yticks(range(len(labels)), map(plotting.plain, labels))
    axis.set(ylim=(len(labels) - 0.5, -0.5))
    axis.grid(False, axis="y")
    figure.legend(loc="outside upper left")  # a legend inside could cover a point
