"""Checks what the figures show, that nothing overlaps or is cut off, and that they are the same bytes each time."""

import dataclasses
import io
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from analysis.figures import drawing
from analysis.figures import iou_figures as figures
from analysis.logs.frames import Logs
from tests.analysis.figures.seen import assert_all_is_seen
from tests.analysis.made_up import MadeUp

SHORT, LONG = "unet (base width 16)", "deeplabv3plus_resnet34 (weights from a file with a long name)"
METRIC = "val/iou_center512"


@pytest.fixture(scope="module")
def logs() -> Logs:
    trivial = {"class": "roof", "iou": 0.25}
    study = MadeUp(SHORT, LONG, tiles=(24, 5), phase="phase2_tuning", judged_metric=METRIC, trivial=trivial)
    for number, (iou, state) in enumerate([(0.52, "finished"), (0.61, "finished"), (0.20, "stopped")]):
        study.trial("unet-24", number, [iou], state)
    study.trial("unet-24", 3, [0.77], "diverged")
    study.trial("unet-24", 0, [0.70], stage="final", run_arm="unet-24-final")
    study.trial("deeplabv3plus_resnet34-24", 0, [0.66])
    study.trial("unet-5", 0, [0.41])
    study.select("unet-24", 1, 0.60)
    study.select("deeplabv3plus_resnet34-24", 0, 0.64)
    study.select("unet-5", 0, None)
    return study.logs()


CELLS = pd.DataFrame(
    [
        (LONG, 24, 0.70, 0.60, 0.75, 3),
        (SHORT, 24, 0.60, np.nan, np.nan, 1),
        (LONG, 5, 0.50, 0.30, 0.55, 3),
        (SHORT, 5, np.nan, np.nan, np.nan, 0),
        (SHORT, 12, 0.45, np.nan, np.nan, 4),
    ],
    columns=["label", "tiles", "mean", "low", "high", "num_models"],
)
POINTS = pd.DataFrame(
    [(LONG, 24, 0.68), (LONG, 24, 0.70), (LONG, 24, 0.72), (SHORT, 24, 0.60), (LONG, 5, 0.5)],
    columns=["label", "tiles", "value"],
)


def intervals(**other) -> Figure:
    return figures.intervals(CELLS, POINTS, **({"metric": "test IoU", "trivial": 0.25, "title": "demo"} | other))


def by_tiles(**other) -> Figure:
    return figures.by_tiles(CELLS, POINTS, **({"metric": "test IoU", "trivial": 0.25, "title": "demo"} | other))


def marks(axes: Axes, marker: str, filled: bool | None = None) -> list[float]:
    """The x values of the markers of that shape; of the filled or the hollow ones where `filled` is given."""
    lines = [line for line in axes.lines if line.get_marker() == marker]
    if filled is not None:
        lines = [line for line in lines if filled == (to_hex(line.get_markerfacecolor()) != "#ffffff")]
    return sorted(round(float(x), 6) for line in lines for x in line.get_xdata())


def bars(axes: Axes) -> list[list[list[float]]]:
    """The ends of the intervals that are seen."""
    segments = [segment for collection in axes.collections for segment in collection.get_segments()]
    return [segment.tolist() for segment in segments if segment.size and np.isfinite(segment).all()]


def dashed(axes: Axes, along: str) -> list[list[float]]:
    return [list(line.get_data()["xy".index(along)]) for line in axes.lines if line.get_linestyle() == "--"]


def test_trials_draws_each_trial_of_the_search_once_in_the_panel_of_its_budget(logs):
    many, few = figures.trials(logs).axes
    assert [axes.get_title(loc="left") for axes in (many, few)] == ["24 tiles", "5 tiles"]
    assert marks(many, "o", filled=True) == [0.52]
    assert marks(many, "o", filled=False) == [0.20]
    assert marks(many, "D") == [0.61, 0.66]
    assert marks(many, "|") == [0.60, 0.64]
    assert marks(few, "o") == []
    assert marks(few, "D") == [0.41]
    assert many.get_yticklabels()[0].get_text().endswith("2 finished, 1 stopped, 1 failed")
    assert [text.get_text() for text in few.texts if text.get_text()] == ["–"]


@pytest.mark.parametrize(("known", "drawn"), [({}, 0.25), ({"judged": 0.34}, 0.34)])
def test_trials_draws_the_trivial_predictor_on_what_trials_are_judged_on(logs, known, drawn):
    trivial = logs.study["trivial"] | known
    figure = figures.trials(dataclasses.replace(logs, study=logs.study | {"trivial": trivial}))
    assert [dashed(axes, "x") for axes in figure.axes] == [[[drawn, drawn]]] * 2


def test_trials_has_no_bar_where_trials_are_judged_at_full_resolution_and_nothing_of_final_models():
    study = MadeUp("unet")
    study.model("unet-24", test=[0.5] * 4)
    assert figures.trials(study.logs()) is None
    study.trial("unet-24", 0, [0.3])
    study.select("unet-24", 0, 0.46)
    (axes,) = figures.trials(study.logs()).axes
    assert marks(axes, "D") == [0.3]
    assert marks(axes, "|") == []


def test_trials_stays_small_with_thousands_of_trials():
    study = MadeUp("unet")
    for number in range(2000):
        study.trial("unet-24", number, [number / 2000], "stopped")
    figure = figures.trials(study.logs())
    assert len(marks(figure.axes[0], "o", filled=False)) == 2000
    assert len(drawing.render(figure, "svg")) < 500_000


def test_intervals_has_a_line_per_cell_in_the_given_order():
    figure = intervals()
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["24 tiles", "5 tiles", "12 tiles"]
    first = figure.axes[0]
    labels = [" ".join(label.get_text().split()) for label in first.get_yticklabels()]
    assert labels == [LONG, SHORT]
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [
        ["0.700", "[0.600, 0.750]", "0.600", "n = 1"],
        ["0.500", "[0.300, 0.550]", "–", "no model"],
        ["0.450", "n = 4, no interval"],
    ]
    assert bars(first) == [[[0.60, 0], [0.75, 0]]]
    assert dashed(first, "x") == [[0.25, 0.25]]


def test_intervals_draws_each_model_below_the_bar_of_its_architecture_and_no_trivial_value_where_there_is_none():
    styles = drawing.looks([LONG, SHORT])
    figure = intervals(labels=[LONG], trivial=None)
    assert [dashed(axes, "x") for axes in figure.axes] == [[], [], []]
    assert not any("trivial" in text.get_text() for text in figure.findobj(Text))
    axes = figure.axes[0]
    by_colour = {
        line.get_color(): (sorted(line.get_xdata()), np.floor(line.get_ydata()).tolist())
        for line in axes.lines
        if line.get_marker() == "o" and line.get_markersize() < 6
    }
    assert by_colour == {styles[LONG][0]: ([0.68, 0.70, 0.72], [0] * 3), styles[SHORT][0]: ([0.60], [1])}


def test_by_tiles_draws_a_line_per_architecture_through_its_known_means_and_none_of_one_budget():
    (axes,) = by_tiles().axes
    lines = {line.get_color(): line for line in axes.lines if line.get_linestyle() == "-"}
    styles = drawing.looks([LONG, SHORT])
    long, short = (lines[styles[label][0]] for label in (LONG, SHORT))
    assert [long.get_marker(), short.get_marker()] == [styles[LONG][1], styles[SHORT][1]]
    assert list(long.get_ydata()) == [0.50, 0.70]
    assert list(short.get_ydata()) == [0.45, 0.60]
    np.testing.assert_allclose(long.get_xdata(), [5, 24], rtol=0.05)
    np.testing.assert_allclose(short.get_xdata(), [12, 24], rtol=0.05)
    assert long.get_xdata()[-1] < short.get_xdata()[-1]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["5", "12", "24"]
    assert [[y for _, y in bar] for bar in bars(axes)] == [[0.30, 0.55], [0.60, 0.75]]
    assert dashed(axes, "y") == [[0.25, 0.25]]
    one = CELLS[CELLS["tiles"] == 24]
    assert figures.by_tiles(one, POINTS, metric="test IoU", trivial=None) is None


@pytest.mark.parametrize("name", ["trials", "intervals", "by_tiles"])
def test_figures_cut_nothing_off_and_overlap_nowhere(logs, name):
    assert_all_is_seen({"trials": lambda: figures.trials(logs), "intervals": intervals, "by_tiles": by_tiles}[name]())


def test_render_gives_the_same_bytes_each_time_on_white_and_only_greys_that_a_page_can_replace():
    rendered = {kind: drawing.render(intervals(), kind) for kind in ("png", "svg")}
    for kind, content in rendered.items():
        assert drawing.render(intervals(), kind) == content
        assert b"<dc:date>" not in content
    svg = rendered["svg"].decode()
    colours = {colour.lower() for colour in re.findall(r"#[0-9a-fA-F]{6}\b", svg)}
    greys = {colour for colour in colours if len({colour[1:3], colour[3:5], colour[5:7]}) == 1}
    assert greys == {drawing.GREY, drawing.GRID}  # its paper is the page's
    assert drawing.INK in colours
    pixels = np.asarray(Image.open(io.BytesIO(rendered["png"])).convert("RGBA"))
    assert pixels[0, 0].tolist() == [255, 255, 255, 255]


labels = st.integers(0, 999).map(str)


@given(st.lists(labels, max_size=49, unique=True), st.lists(labels))
def test_looks_tell_architectures_apart_and_do_not_depend_on_those_that_follow(labels, others):
    styles = drawing.looks(labels)
    assert len(set(styles.values())) == len(labels)
    assert drawing.looks([*labels, *labels[::-1], *others]).items() >= styles.items()


def test_metric_words_name_the_window():
    assert drawing.metric_words("val/iou") == "val IoU, full resolution"
    assert drawing.metric_words(METRIC) == "val IoU on the centre 512 px of each tile"
    assert drawing.metric_words("val/f1") == "val/f1"
