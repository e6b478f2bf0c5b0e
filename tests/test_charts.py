"""Charts of studies: what is drawn is what was given."""

import numpy as np
import pytest

from seatbelt_tf import figures
from seatbelt_tf.figures import charts


def _drawn(chart):
    figure = charts.panels({"a chart": chart})
    (axes,) = figure.axes
    figure.canvas.draw()
    return axes


def test_lines_with_and_without_intervals():
    band = (np.array([1.0, 2.0, 4.0]), np.array([[0.5, 1.5, 3.0], [1.5, 2.5, 5.0]]))
    curves = {"plain": [1.0, np.nan, 3.0], "band": band}
    axes = _drawn(charts.lines([1, 2, 3], curves, xlabel="β", ylabel="nats", log=True))
    plain, with_band = axes.lines
    np.testing.assert_array_equal(plain.get_ydata(), [1.0, np.nan, 3.0])
    np.testing.assert_array_equal(with_band.get_ydata(), band[0])
    edges = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (edges.min(), edges.max()) == (0.5, 5.0)
    assert (axes.get_yscale(), axes.get_xlabel(), axes.get_title("left")) == ("log", "β", "a chart")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["plain", "band"]


def test_a_heat_map_writes_its_numbers_and_leaves_gaps_empty():
    values = [[1.0, 2000.0], [np.nan, 4.0]]
    chart = charts.heat_map(values, rows=[1, 2], columns=["3", "6"], ylabel="L", xlabel="β")
    axes = _drawn(chart)
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "1", (1, 0): "2,000", (1, 1): "4"}
    # L grows upwards, as in the paper.
    assert axes.get_ylim()[0] < axes.get_ylim()[1]


def test_densities_have_area_one_on_common_bins():
    samples = {"few": np.array([0.0, 1.0]), "many": np.linspace(0, 10, 200)}
    axes = _drawn(charts.densities(samples, xlabel="‖σ(x)‖₂", bins=10))
    outlines = [patch.get_xy() for patch in axes.patches if not patch.get_fill()]
    assert len(outlines) == 2
    for x, y in (outline.T for outline in outlines):
        assert np.sum(np.diff(x) * y[1:]) == pytest.approx(1.0)


def test_intervals_are_rows_from_the_top():
    rows = {"first": (0.2, 0.1, 0.3, [0.15, 0.25]), "second": (0.5, 0.4, 0.6, [0.5])}
    axes = _drawn(charts.intervals(rows, xlabel="area"))
    bar, dot, marks = axes.lines[:3]
    assert (list(bar.get_xdata()), dot.get_xdata()[0]) == ([0.1, 0.3], 0.2)
    assert list(marks.get_xdata()) == [0.15, 0.25]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["first", "second"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


def test_points_and_clouds_of_several_groups_in_one_figure(tmp_path):
    groups = {"β = 1": ([0.1], [5.0]), "β = 6": ([0.2, 0.3], [7.0, 9.0])}
    clouds = {"q(z)": (np.zeros((4, 2)), np.arange(4)), "x": (np.eye(3), np.arange(3))}
    chart = charts.points(groups, xlabel="MIG", ylabel="Δ", log=True)
    figure = charts.panels({"points": chart, **charts.clouds(clouds)}, columns=2, title="three")
    assert figure.get_size_inches().tolist() == [10.8, 7.2]
    larger = charts.panels({"points": chart}, size=(8, 5))
    assert larger.get_size_inches().tolist() == [8, 5]
    assert [axes.get_title("left") for axes in figure.axes] == ["points", "q(z)", "x"]
    assert [list(line.get_ydata()) for line in figure.axes[0].lines] == [[5.0], [7.0, 9.0]]
    np.testing.assert_array_equal(figure.axes[2].collections[0].get_offsets(), np.eye(3)[:, [0, 2]])
    # Clouds are compared: none is larger for its axes' sake.
    first, second = ((axes.get_xlim(), axes.get_ylim()) for axes in figure.axes[1:])
    assert first == second
    assert min(first[0][1], first[1][1]) > 1
    assert figures.save(figure, tmp_path / "charts.png").stat().st_size > 10_000


def test_a_front_of_one_point_is_seen():
    groups = {"a": ([0.1], [5.0]), "b": ([0.2], [7.0])}
    axes = _drawn(charts.points(groups, xlabel="error", ylabel="area", line=[(0.1, 5.0)]))
    ring = axes.lines[0]
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([0.1], [5.0])
    assert ring.get_marker() == "o"
    assert ring.get_markersize() > axes.lines[1].get_markersize()


def test_no_charts_are_no_figure():
    with pytest.raises(ValueError, match="at least one chart"):
        charts.panels({})
