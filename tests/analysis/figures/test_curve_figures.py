"""Checks what learning curves and cost curves show, that they stay small, and that they lose nothing at the edges."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis.figures.curve_figures import cost_curves, learning_curves
from analysis.figures.drawing import INK, looks, render
from analysis.logs.frames import Logs
from tests.analysis.figures.seen import assert_all_is_seen

UNET, SAM = "unet (base width 16)", "sam_conv (small random encoder with a name that is long)"
METRIC = "val/iou_center512"
NOTHING = pd.DataFrame()


def make_logs(
    trials: list[dict], selection: list[tuple] = (), *, tiles: tuple[int, ...] = (24,), gpus: float = 0.0
) -> Logs:
    """A study of two architectures; each trial has `arm`, `number`, `values` by epoch, and what differs from others."""
    rows = [
        {"stage": "search", "state": "finished", "run_arm": trial["arm"], "seconds": 1800.0} | trial for trial in trials
    ]
    history = [
        {key: row[key] for key in ("arm", "run_arm", "number", "stage")} | {"epoch": epoch, METRIC: value}
        for row in rows
        for epoch, value in enumerate(row["values"], start=1)
    ]
    for row in rows:
        known = [value for value in row["values"] if value >= 0]
        row |= {"epochs": len(row["values"]), "judged": max(known, default=np.nan)}
    arms = [
        {"arm": f"{label.split()[0]}-{count}", "architecture_label": label, "tiles": count}
        for count in tiles
        for label in (UNET, SAM)
    ]
    columns = ["arm", "run_arm", "number", "stage", "state", "judged", "epochs", "seconds"]
    study = {"study": "demo", "profile": "smoke", "judged_metric": METRIC, "arms": arms}
    return Logs(
        study=study | {"trivial": {"class": "roof", "iou": 0.25, "judged": 0.34}, "slots": {"cpus": 2, "gpus": gpus}},
        runs=pd.DataFrame(rows, columns=columns).astype({"epochs": "Int64"}),
        history=pd.DataFrame(history, columns=["arm", "run_arm", "number", "stage", "epoch", METRIC]),
        selection=pd.DataFrame(selection, columns=["arm", "number"]),
        models=NOTHING,
        scores=NOTHING,
        openings=NOTHING,
        images=NOTHING,
    )


TRIALS = [
    {"arm": "unet-24", "number": 0, "values": [0.1, 0.4, 0.3]},
    {"arm": "unet-24", "number": 1, "values": [0.2], "state": "stopped"},
    {"arm": "unet-24", "number": 2, "values": [0.9, np.nan], "state": "diverged"},
    {"arm": "unet-24", "number": 3, "values": [0.3, 0.5, 0.6], "seconds": 3600.0},
    {"arm": "unet-24", "number": 4, "values": [], "state": "failed"},
    {"arm": "unet-24", "number": 0, "values": [0.2, 0.55], "stage": "final", "run_arm": "unet-24-final"},
    {"arm": "sam_conv-24", "number": 0, "values": [0.15, 0.25], "state": "started"},
]


@pytest.fixture(scope="module")
def logs() -> Logs:
    return make_logs(TRIALS, [("unet-24", 3)])


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


def test_learning_curves_draw_each_known_epoch_of_each_trial(logs):
    unet, sam = learning_curves(logs).axes
    others, models, selected = curves(unet)
    assert others == [[[1, 0.1], [2, 0.4], [3, 0.3]], [[1, 0.2]], [[1, 0.9]]]
    assert models == [[[1, 0.2], [2, 0.55]]]
    assert selected == [[[1, 0.3], [2, 0.5], [3, 0.6]]]
    assert curves(sam) == [[[[1, 0.15], [2, 0.25]]], [], []]


def test_learning_curves_mark_how_each_trial_ended(logs):
    unet, sam = learning_curves(logs).axes
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


def test_learning_curves_set_final_models_apart_from_the_search(logs):
    collections = learning_curves(logs).axes[0].collections
    assert [to_hex(drawn.get_edgecolor()[0]) for drawn in collections] == ["#0072b2", INK, "#0072b2"]
    only_models = make_logs([trial for trial in TRIALS if trial.get("stage") == "final"])
    figure = learning_curves(only_models)
    assert to_hex(figure.axes[0].collections[1].get_edgecolor()[0]) == "#0072b2"
    assert legend_words(figure)[:2] == ["final model", "a final model's last epoch"]
    assert figure.axes[1].texts[0].get_text() == "no trial"


def test_learning_curves_draw_the_trivial_predictor_on_what_was_judged(logs):
    figure = learning_curves(logs)
    for axes in figure.axes:
        assert [list(line.get_ydata()) for line in axes.lines if line.get_linestyle() == "--"] == [[0.34, 0.34]]
    assert legend_words(figure)[-1] == "trivial: everything is roof (on the same pixels)"


def test_learning_curves_set_budgets_side_by_side():
    figure = learning_curves(make_logs(TRIALS, tiles=(24, 5)))
    titles = [" ".join(axes.get_title(loc="left").split()) for axes in figure.axes]
    assert titles == [f"{label}, {count} tiles" for label in (UNET, SAM) for count in (5, 24)]
    assert figure.axes[0].get_gridspec().ncols == 2


def test_learning_curves_are_none_without_epochs(logs):
    assert learning_curves(dataclasses.replace(logs, history=logs.history.iloc[:0])) is None
    assert learning_curves(dataclasses.replace(logs, history=logs.history.drop(columns=METRIC))) is None


def test_learning_curves_of_thousands_of_trials_are_pixels():
    values = np.linspace(0, 1, 20)
    trials = [{"arm": "unet-24", "number": number, "values": values * number / 2000} for number in range(2000)]
    figure = learning_curves(make_logs(trials, [("unet-24", 7)]))
    others, _, selected = figure.axes[0].collections
    assert len(others.get_segments()) == 1999
    assert [others.get_rasterized(), selected.get_rasterized()] == [True, False]
    assert len(render(figure, "svg")) < 400_000


def test_cost_curves_step_where_a_trial_that_can_be_selected_is_better(logs):
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


def test_cost_curves_count_gpu_hours_where_there_is_a_gpu():
    (*_, axes) = cost_curves(make_logs(TRIALS, gpus=0.5)).axes
    assert axes.get_xlabel() == "GPU-hours spent"
    assert axes.lines[0].get_xdata().tolist() == pytest.approx([0.25, 1.25, 1.5])


def test_cost_curves_have_a_row_per_budget():
    more = [*TRIALS, {"arm": "sam_conv-5", "number": 0, "values": [0.3]}]
    figure = cost_curves(make_logs(more, tiles=(24, 5)))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["24 tiles", "", "", "5 tiles", "", ""]
    assert figure.axes[3].lines[0].get_color() == looks([UNET, SAM])[SAM][0]


def test_cost_curves_are_none_where_no_trial_of_a_search_ran_its_course():
    assert cost_curves(make_logs([trial for trial in TRIALS if trial.get("stage") == "final"])) is None
    assert cost_curves(make_logs([trial for trial in TRIALS if trial.get("state") == "stopped"])) is None


def test_looks_follow_the_labels_of_the_whole_report(logs):
    figure = cost_curves(logs, ["another", SAM, UNET])
    assert figure.axes[0].lines[0].get_color() == looks(["another", SAM, UNET])[UNET][0]
    unet = learning_curves(logs, ["another", SAM, UNET]).axes[0]
    assert to_hex(unet.collections[0].get_edgecolor()[0]).upper() == looks(["another", SAM, UNET])[UNET][0]


@pytest.mark.parametrize("draw", [learning_curves, cost_curves])
@pytest.mark.parametrize("tiles", [(24,), (24, 12, 5)])
def test_curves_cut_nothing_off_overlap_nowhere_and_are_the_same_bytes(draw, tiles):
    logs = make_logs(TRIALS, [("unet-24", 3)], tiles=tiles)
    figure = draw(logs)
    assert_all_is_seen(figure)
    svg = render(draw(logs), "svg")
    assert svg == render(draw(logs), "svg")
    assert b"#000000" not in svg
