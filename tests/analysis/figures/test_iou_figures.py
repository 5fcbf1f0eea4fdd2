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
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from analysis.figures import drawing
from analysis.figures import iou_figures as figures
from analysis.logs.frames import Logs

SHORT, LONG = "unet (base width 16)", "deeplabv3plus_resnet34 (weights from a file with a long name)"
METRIC = "val/iou_center512"


def arm(label: str, tiles: int) -> dict:
    return {"arm": f"{label.split()[0]}-{tiles}", "architecture_label": label, "tiles": tiles}


def trial(name: str, number: int, judged: float, state: str = "finished", stage: str = "search") -> dict:
    return {"arm": name, "run_arm": name, "number": number, "stage": stage, "state": state, "judged": judged}


def make_logs(
    arms: list[dict], trials: list[dict], selection: list[tuple] = (), metric: str = METRIC, images=()
) -> Logs:
    study = {"study": "demo", "profile": "smoke", "seed": 42, "judged_metric": metric, "arms": arms}
    nothing = pd.DataFrame()
    return Logs(
        study=study | {"trivial": {"class": "roof", "iou": 0.25}},
        runs=pd.DataFrame(trials, columns=["arm", "run_arm", "number", "stage", "state", "judged"]),
        history=nothing,
        selection=pd.DataFrame(selection, columns=["arm", "number", "judged", "val_iou"]),
        models=nothing,
        scores=nothing,
        openings=nothing,
        images=pd.DataFrame(images, columns=["arm", "split", "caption", "path"]),
    )


@pytest.fixture(scope="module")
def logs() -> Logs:
    return make_logs(
        [arm(SHORT, 24), arm(LONG, 24), arm(SHORT, 5)],
        [
            trial("unet-24", 0, 0.52),
            trial("unet-24", 1, 0.61),
            trial("unet-24", 2, 0.20, "stopped"),
            trial("unet-24", 3, 0.77, "diverged"),
            trial("unet-24", 0, 0.70, stage="final"),
            trial("deeplabv3plus_resnet34-24", 0, 0.66),
            trial("unet-5", 0, 0.41),
        ],
        [("unet-24", 1, 0.61, 0.60), ("deeplabv3plus_resnet34-24", 0, 0.66, 0.64), ("unet-5", 0, 0.41, np.nan)],
    )


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


def drawn_texts(figure: Figure) -> dict[str, list]:
    """The boxes of all texts that are seen, in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes: dict[str, list] = {}
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip():
            boxes.setdefault(text.get_text(), []).append(text.get_window_extent(canvas.get_renderer()))
    return boxes


def assert_all_is_seen(figure: Figure) -> None:
    """Nothing is cut off, and no text lies on another."""
    boxes = [(words, box) for words, several in drawn_texts(figure).items() for box in several]
    width, height = figure.get_size_inches() * figure.dpi
    for words, box in boxes:
        assert min(box.x0, box.y0) >= 0, words
        assert box.x1 <= width, words
        assert box.y1 <= height, words
    for place, (words, box) in enumerate(boxes):
        for other_words, other in boxes[:place]:
            assert not box.padded(-0.5).overlaps(other.padded(-0.5)), (words, other_words)


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


def test_trials_has_no_bar_where_trials_are_judged_at_full_resolution():
    logs = make_logs([arm(SHORT, 5)], [trial("unet-5", 0, 0.3)], [("unet-5", 0, 0.3, 0.46)], metric="val/iou")
    (axes,) = figures.trials(logs).axes
    assert marks(axes, "D") == [0.3]
    assert marks(axes, "|") == []


def test_trials_has_nothing_to_draw_where_there_are_only_final_models():
    assert figures.trials(make_logs([arm(SHORT, 5)], [trial("unet-5", 0, 0.3, stage="final")])) is None


def test_trials_stays_small_with_thousands_of_trials():
    many = [trial("unet-5", number, number / 5000, "stopped") for number in range(5000)]
    figure = figures.trials(make_logs([arm(SHORT, 5)], many))
    assert len(marks(figure.axes[0], "o", filled=False)) == 5000
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


def test_intervals_draws_each_model_below_the_bar_of_its_architecture():
    styles = drawing.looks([LONG, SHORT])
    axes = intervals(labels=[LONG]).axes[0]
    by_colour = {
        line.get_color(): (sorted(line.get_xdata()), np.floor(line.get_ydata()).tolist())
        for line in axes.lines
        if line.get_marker() == "o" and line.get_markersize() < 6
    }
    assert by_colour == {styles[LONG][0]: ([0.68, 0.70, 0.72], [0] * 3), styles[SHORT][0]: ([0.60], [1])}


def test_intervals_has_no_dashed_line_without_a_trivial_value():
    figure = intervals(trivial=None)
    assert [dashed(axes, "x") for axes in figure.axes] == [[], [], []]
    assert not any("trivial" in words for words in drawn_texts(figure))


def test_by_tiles_draws_a_line_per_architecture_through_its_known_means():
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


def test_by_tiles_has_nothing_to_compare_for_one_budget():
    one = CELLS[CELLS["tiles"] == 24]
    assert figures.by_tiles(one, POINTS, metric="test IoU", trivial=None) is None


@pytest.mark.parametrize("name", ["trials", "intervals", "by_tiles"])
def test_figures_cut_nothing_off_and_overlap_nowhere(logs, name):
    assert_all_is_seen({"trials": lambda: figures.trials(logs), "intervals": intervals, "by_tiles": by_tiles}[name]())


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_render_gives_the_same_bytes_each_time_and_no_date(kind):
    first, second = (drawing.render(intervals(), kind) for _ in range(2))
    assert first == second
    assert b"<dc:date>" not in first


def test_render_writes_only_greys_that_a_page_can_replace():
    svg = drawing.render(intervals(), "svg").decode()
    colours = {colour.lower() for colour in re.findall(r"#[0-9a-fA-F]{6}\b", svg)}
    greys = {colour for colour in colours if len({colour[1:3], colour[3:5], colour[5:7]}) == 1}
    assert greys == {drawing.GREY, drawing.GRID}
    assert drawing.INK in colours
    assert "#000000" not in svg


def test_render_leaves_the_paper_of_drawings_to_the_page_and_paints_pictures_white():
    svg = drawing.render(intervals(), "svg").decode()
    assert "#ffffff" not in svg
    pixels = np.asarray(Image.open(io.BytesIO(drawing.render(intervals(), "png"))).convert("RGBA"))
    assert pixels[0, 0].tolist() == [255, 255, 255, 255]


@given(st.lists(st.text(min_size=1), max_size=49, unique=True), st.lists(st.text()))
def test_looks_tell_architectures_apart_and_do_not_depend_on_those_that_follow(labels, others):
    styles = drawing.looks(labels)
    assert len(set(styles.values())) == len(labels)
    assert drawing.looks([*labels, *labels[::-1], *others]).items() >= styles.items()


def test_metric_words_name_the_window():
    assert drawing.metric_words("val/iou") == "val IoU, full resolution"
    assert drawing.metric_words(METRIC) == "val IoU on the centre 512 px of each tile"
    assert drawing.metric_words("val/f1") == "val/f1"
