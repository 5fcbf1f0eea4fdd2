"""Checks what the figures show, and that they are the same bytes each time."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from analysis import figures
from analysis.wandb_logs import read_logs


@pytest.fixture(scope="module")
def logs(demo: Path):
    return read_logs(demo)


def points(axes, marker: str, filled: bool | None = None) -> list[float]:
    """The x values of the markers of that shape; of the filled or the hollow ones where `filled` is given."""
    lines = [line for line in axes.lines if line.get_marker() == marker]
    return sorted(
        float(line.get_xdata()[0])
        for line in lines
        if filled is None or filled == (to_hex(line.get_markerfacecolor()) != "#ffffff")
    )


def test_iou_by_architecture_draws_each_trial_once_in_the_panel_of_its_budget(logs):
    many, few = figures.iou_by_architecture(logs).axes
    assert [axes.get_title(loc="left") for axes in (many, few)] == ["24 tiles", "5 tiles"]
    assert points(many, "o", filled=True) == [0.52]
    assert points(many, "o", filled=False) == [0.20]
    assert points(many, "D") == [0.61, 0.66]
    assert points(many, "|") == [0.60, 0.64]
    assert points(few, "o") == []
    assert points(few, "D") == [0.41]


@pytest.mark.parametrize(("known", "drawn"), [({}, 0.25), ({"judged": 0.34}, 0.34)])
def test_iou_by_architecture_draws_the_trivial_predictor_on_what_trials_are_judged_on(logs, known, drawn):
    trivial = logs.study["trivial"] | known
    figure = figures.iou_by_architecture(dataclasses.replace(logs, study=logs.study | {"trivial": trivial}))
    for axes in figure.axes:
        dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
        assert [list(line.get_xdata()) for line in dashed] == [[drawn, drawn]]


def test_iou_by_architecture_has_no_bar_where_trials_are_judged_at_full_resolution(fake_study):
    study = fake_study(metric="val/iou", tiles=(5,))
    study.trial("unet-5", 0, [0.3])
    study.end({"unet-5": (0, 0.3, 0.46)})
    (axes,) = figures.iou_by_architecture(read_logs(study.out)).axes
    assert points(axes, "D") == [0.3]
    assert points(axes, "|") == []


def test_iou_by_architecture_keeps_its_labels_inside(logs):
    figure = figures.iou_by_architecture(logs)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box = figure.get_tightbbox(canvas.get_renderer())
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= width
    assert box.y1 <= height


def test_iou_by_tiles_draws_a_line_per_architecture_over_the_known_budgets(logs):
    (axes,) = figures.iou_by_tiles(logs).axes
    lines = {line.get_label(): [list(line.get_xdata()), list(line.get_ydata())] for line in axes.lines}
    assert lines["unet (base width 16)"] == [[5, 24], [0.40, 0.60]]
    assert lines["sam_conv"] == [[24], [0.64]]
    assert lines["trivial: everything is roof"][1] == [0.25, 0.25]


def test_figures_have_nothing_to_compare_or_to_show_for_one_budget_without_pictures(fake_study):
    study = fake_study(tiles=(5,))
    study.end({})
    logs = read_logs(study.out)
    assert figures.iou_by_tiles(logs) is None
    assert figures.predictions(logs) is None
    assert figures.render(figures.iou_by_architecture(logs), "png").startswith(b"\x89PNG")


def test_predictions_shows_each_picture_below_its_arm(logs):
    figure = figures.predictions(logs)
    assert [text.get_text() for text in figure.texts] == [
        "Selected trials on the val tiles: image, truth, prediction",
        *("unet (base width 16), 24 tiles", "t1", "t2", "t3"),
        *("sam_conv, 24 tiles", "t1", "t2", "t3"),
    ]
    greys = [round(float(np.asarray(axes.images[0].get_array())[0, 0, 0]) * 255) for axes in figure.axes]
    assert greys == [0, 20, 40, 60, 80, 100]


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_render_gives_the_same_bytes_each_time_and_no_date(logs, kind: str):
    first, second = (figures.render(figures.iou_by_architecture(logs), kind) for _ in range(2))
    assert first == second
    assert b"<dc:date>" not in first
