"""Checks what learning curves and cost curves show, that they stay small, and that they lose nothing at the edges."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis.figures.curve_figures import cost_curves, learning_curves
from analysis.figures.drawing import INK, looks, render
from analysis.logs.frames import Logs
from tests.analysis.figures.seen import assert_all_is_seen
from tests.analysis.made_up import MadeUp

UNET, SAM = "unet (base width 16)", "sam_conv (small random encoder with a name that is long)"
METRIC = "val/iou_center512"


def study(*, tiles: tuple[int, ...] = (24,), gpus: float = 0.0) -> MadeUp:
    """Two architectures, whose trivial predictor is better on what was judged."""
    trivial = {"class": "roof", "iou": 0.25, "judged": 0.34}
    slots = {"count": 1, "cpus": 2, "gpus": gpus}
    return MadeUp(UNET, SAM, tiles=tiles, judged_metric=METRIC, trivial=trivial, slots=slots)


def searched(**about) -> MadeUp:
    """With trials that ended in each way, of half an hour each but for the one that is selected."""
    made = study(**about)
    half_hour = {"seconds": 1800.0}
    made.trial("unet-24", 0, [0.1, 0.4, 0.3], cost=half_hour)
    made.trial("unet-24", 1, [0.2], "stopped", cost=half_hour)
    made.trial("unet-24", 2, [0.9, np.nan], "diverged", cost=half_hour)
    made.trial("unet-24", 3, [0.3, 0.5, 0.6], cost={"seconds": 3600.0})
    made.trial("unet-24", 4, [], "failed", cost=half_hour)
    made.trial("unet-24", 0, [0.2, 0.55], stage="final", run_arm="unet-24-final")
    made.trial("sam_conv-24", 0, [0.15, 0.25], is_ended=False)
    made.select("unet-24", 3, 0.6)
    return made


@pytest.fixture(scope="module")
def logs() -> Logs:
    return searched().logs()


def only(logs: Logs, **wanted: str) -> Logs:
    """The same of some trials only."""
    runs, history = logs.runs, logs.history
    for column, value in wanted.items():
        runs = runs[runs[column] == value]
        history = history[history[column] == value] if column in history else history
    return dataclasses.replace(logs, runs=runs, history=history)


def ends(axes: Axes, marker: str, filled: bool = True) -> list[tuple[float, float]]:
    """The points with that marker, in order; the hollow ones where `filled` is false."""
    lines = [line for line in axes.lines if line.get_marker() == marker]
    lines = [line for line in lines if filled == (to_hex(line.get_markerfacecolor()) != "#ffffff")]
    return sorted((float(x), float(y)) for line in lines for x, y in line.get_xydata())


def curves(axes: Axes) -> list[list[list[list[float]]]]:
    """The lines of the trials of the search, of the final models, and of the selected trial."""
    return [[segment.tolist() for segment in collection.get_segments()] for collection in axes.collections]


def legend_words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_learning_curves_draw_each_known_epoch_of_each_trial_and_mark_how_it_ended(logs):
    unet, sam = learning_curves(logs).axes
    others, models, selected = curves(unet)
    assert others == [[[1, 0.1], [2, 0.4], [3, 0.3]], [[1, 0.2]], [[1, 0.9]]]
    assert models == [[[1, 0.2], [2, 0.55]]]
    assert selected == [[[1, 0.3], [2, 0.5], [3, 0.6]]]
    assert curves(sam) == [[[[1, 0.15], [2, 0.25]]], [], []]
    assert ends(unet, "o") == [(3, 0.3), (3, 0.6)]
    assert ends(unet, "o", filled=False) == [(1, 0.2)]
    assert ends(unet, "x") == [(1, 0.9)]
    assert ends(unet, "s") == [(2, 0.55)]
    assert ends(unet, "D") == [(3, 0.6)]
    assert [ends(sam, marker) for marker in "oxsD"] == [[], [], [], []]
    assert [text.get_text().replace("\N{NO-BREAK SPACE}", " ") for text in (*unet.texts, *sam.texts)] == [
        "search: 2 finished, 1 stopped, 2 failed\nmodels: 1 finished",
        "search: none has ended",
    ]


def test_learning_curves_set_final_models_apart_and_draw_the_trivial_predictor_on_what_was_judged(logs):
    figure = learning_curves(logs)
    assert [to_hex(drawn.get_edgecolor()[0]) for drawn in figure.axes[0].collections] == ["#0072b2", INK, "#0072b2"]
    for axes in figure.axes:
        assert [list(line.get_ydata()) for line in axes.lines if line.get_linestyle() == "--"] == [[0.34, 0.34]]
    assert legend_words(figure)[-1] == "trivial: everything is roof (on the same pixels)"
    figure = learning_curves(only(logs, stage="final"))
    assert to_hex(figure.axes[0].collections[1].get_edgecolor()[0]) == "#0072b2"
    assert legend_words(figure)[:2] == ["final model", "a final model's last epoch"]
    assert figure.axes[1].texts[0].get_text() == "no trial"


def test_curves_of_several_budgets_lie_side_by_side_or_in_a_row_each():
    made = searched(tiles=(24, 5))
    figure = learning_curves(made.logs())
    titles = [" ".join(axes.get_title(loc="left").split()) for axes in figure.axes]
    assert titles == [f"{label}, {count} tiles" for label in (UNET, SAM) for count in (5, 24)]
    assert figure.axes[0].get_gridspec().ncols == 2
    made.trial("sam_conv-5", 0, [0.3])
    figure = cost_curves(made.logs())
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["24 tiles", "", "", "5 tiles", "", ""]
    assert figure.axes[3].lines[0].get_color() == looks([UNET, SAM])[SAM][0]


def test_learning_curves_of_many_trials_are_pixels():
    made = study()
    for number in range(1000):
        made.trial("unet-24", number, [0.0, 0.5 * number / 1000, number / 1000])
    made.select("unet-24", 7, 0.007)
    figure = learning_curves(made.logs())
    others, _, selected = figure.axes[0].collections
    assert len(others.get_segments()) == 999
    assert [others.get_rasterized(), selected.get_rasterized()] == [True, False]
    assert len(render(figure, "svg")) < 400_000


def test_cost_curves_step_where_a_trial_that_can_be_selected_is_better_and_count_gpu_hours(logs):
    figure = cost_curves(logs)
    by_trials, by_epochs, by_hours = figure.axes
    for axes, spent in ((by_trials, [1, 4, 5]), (by_epochs, [3, 9, 9]), (by_hours, [1, 5, 6])):
        steps, end = axes.lines[:2]
        assert steps.get_drawstyle() == "steps-post"
        assert steps.get_xdata().tolist() == pytest.approx(spent)
        assert steps.get_ydata().tolist() == [0.4, 0.6, 0.6]
        assert end.get_xydata().tolist() == [pytest.approx([spent[-1], 0.6])]
        assert end.get_marker() == looks([UNET, SAM])[UNET][1]
    assert by_hours.get_xlabel() == "core-hours spent"
    assert legend_words(figure)[0] == UNET
    (*_, axes) = cost_curves(searched(gpus=0.5).logs()).axes
    assert axes.get_xlabel() == "GPU-hours spent"
    assert axes.lines[0].get_xdata().tolist() == pytest.approx([0.25, 1.25, 1.5])


def test_curves_are_none_without_epochs_or_where_no_trial_of_a_search_ran_its_course(logs):
    assert learning_curves(dataclasses.replace(logs, history=logs.history.iloc[:0])) is None
    assert learning_curves(dataclasses.replace(logs, history=logs.history.drop(columns=METRIC))) is None
    assert cost_curves(only(logs, stage="final")) is None
    assert cost_curves(only(logs, state="stopped")) is None


def test_looks_follow_the_labels_of_the_whole_report(logs):
    figure = cost_curves(logs, ["another", SAM, UNET])
    assert figure.axes[0].lines[0].get_color() == looks(["another", SAM, UNET])[UNET][0]
    unet = learning_curves(logs, ["another", SAM, UNET]).axes[0]
    assert to_hex(unet.collections[0].get_edgecolor()[0]).upper() == looks(["another", SAM, UNET])[UNET][0]


@pytest.mark.parametrize("draw", [learning_curves, cost_curves])
@pytest.mark.parametrize("tiles", [(24,), (24, 12, 5)])
def test_curves_cut_nothing_off_and_overlap_nowhere(draw: Callable[[Logs], Figure], tiles: tuple[int, ...]):
    figure = draw(searched(tiles=tiles).logs())
    assert_all_is_seen(figure)
    if len(tiles) == 1:
        assert b"#000000" not in render(figure, "svg")
