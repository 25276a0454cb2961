"""What the plot of a comparison shows."""

import json
from pathlib import Path

from keras_mma.robustness import plots

REPORT = Path(__file__).parents[2] / "docs" / "results" / "robustness" / "report.json"


def test_a_comparison_leaves_out_what_a_report_lacks_and_covers_no_bar():
    whole = json.loads(REPORT.read_text())
    part = {key: value for key, value in whole.items() if key not in ("deformation", "attack")}
    figure = plots._comparison([whole, part, whole], ["runs/whole", "runs/part", "runs/" + "long" * 12])
    axis = figure.axes[0]
    first, second, third = axis.containers
    lacking = len(whole["deformation"]) + len(whole["attack"]["results"])
    assert len(first) == len(third) == 5 + lacking and len(second) == 5
    assert [text.get_text() for text in axis.texts] == ["–"] * lacking
    assert [text.get_position()[0] for text in axis.texts] == list(range(5, 5 + lacking))  # the middle one of three
    assert [bar.get_height() for bar in first][0] == 100 * whole["clean"]["error"]
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert [text.get_text()[:10] for text in legend.get_texts()] == ["runs/whole", "runs/part", "runs/longl"]
    assert not legend.get_window_extent().overlaps(axis.get_window_extent())
    assert figure.bbox.height >= legend.get_window_extent().y1 and figure.bbox.width >= legend.get_window_extent().x1
