"""Checks what the figures of a search show: importance, parallel coordinates, and levels of one hyperparameter."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from analysis.figures.drawing import INK, looks, render
from analysis.figures.search_figures import fixed_values, importance, parallel_coordinates
from analysis.logs.frames import Logs
from tests.analysis.figures.seen import assert_all_is_seen
from tests.analysis.made_up import MadeUp

UNET, SAM = "unet (base width 16)", "sam_conv (small random encoder with a name that is long)"
RANGES = {
    "lr": {"low": 1e-4, "high": 1e-2, "log": True},
    "augmentation": {"choices": ["HEAVY", "LIGHT", "MEDIUM"]},
    "decoder_dropout": {"low": 0.0, "high": 0.5, "log": False},
}

SHARES = pd.DataFrame(
    [
        (UNET, 24, "lr", 0.75, True),
        (UNET, 24, "bce_weight", 0.25, False),
        (SAM, 24, "lr", np.nan, True),
        (SAM, 24, "bce_weight", np.nan, False),
        (SAM, 5, "lr", 1.0, False),
    ],
    columns=["label", "tiles", "hyperparameter", "importance", "at_bound"],
)
PRESETS = pd.DataFrame(
    [
        (UNET, "EXTREME", 0.4, 0.3, 0.5),
        (UNET, "NONE", 0.5, np.nan, np.nan),
        (SAM, "NONE", 0.6, 0.5, 0.7),
        (SAM, "LIGHT", 0.7, 0.6, 0.8),
    ],
    columns=["label", "value", "mean", "low", "high"],
)


def trials(*logged: tuple, selected: int | None = None) -> Logs:
    """Of two architectures: each is arm, number, state, judged, lr, augmentation, dropout."""
    study = MadeUp(UNET, SAM, phase="phase2_tuning")
    for arm in study.arms.values():
        arm["ranges"] = RANGES
    for arm, number, state, judged, lr, augmentation, dropout in logged:
        point = {"lr": lr, "augmentation": augmentation, "decoder_dropout": dropout}
        study.trial(f"{arm}-24", number, [judged], state, **point)
    if selected is not None:
        study.select("unet-24", selected, 0.6)
    study.trial("unet-24", 0, [0.8], stage="final", run_arm="unet-24-confirmation")
    logs = study.logs()
    return dataclasses.replace(logs, runs=logs.runs.drop(columns="hyperparameters/bce_weight"))


TRIALS = [
    ("unet", 0, "finished", 0.5, 1e-3, "MEDIUM", 0.25),
    ("unet", 1, "finished", 0.6, 1e-2, "HEAVY", 0.5),
    ("unet", 2, "stopped", 0.4, 1e-4, "LIGHT", 0.0),
    ("unet", 3, "failed", 0.9, 1e-4, "LIGHT", 0.0),
    ("sam_conv", 0, "finished", 0.8, 1e-3, "MEDIUM", 0.25),
]


def bars(axes: Axes) -> list[tuple[float, str]]:
    return [(bar.get_width(), to_hex(bar.get_facecolor()).upper()) for bar in axes.patches]


def test_importance_has_a_panel_per_hyperparameter_and_a_row_per_budget():
    figure = importance(SHARES, title="demo")
    panels = figure.axes
    titles = ["24 tiles\nlr", "\nbce weight", "5 tiles\nlr", "\nbce weight"]
    assert [axes.get_title(loc="left") for axes in panels] == titles
    styles = looks([UNET, SAM])
    assert [bars(axes) for axes in panels] == [
        [(0.75, styles[UNET][0])],
        [(0.25, styles[UNET][0])],
        [(1.0, styles[SAM][0])],
        [],
    ]
    assert [[text.get_text() for text in axes.texts] for axes in panels] == [["0.75", "–"], ["0.25", "–"], ["1.00"], []]
    marked = [[line.get_ydata()[0] for line in axes.lines if line.get_marker() == "<"] for axes in panels]
    assert marked == [[0, 1], [], [], []]  # best values at a bound
    figure = importance(SHARES[SHARES["tiles"] == 24])  # the only budget is not named
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["lr", "bce weight"]


def test_parallel_coordinates_lead_each_trial_through_its_settings_to_its_value():
    figure = parallel_coordinates(trials(*TRIALS, selected=1))
    unet, sam = figure.axes
    names = ["lr", "augmentation", "decoder dropout", "judged score"]
    assert [label.get_text() for label in unet.get_xticklabels()] == names
    stopped, finished = (collection.get_segments() for collection in unet.collections)
    (selected,) = (line.get_ydata() for line in unet.lines if len(line.get_ydata()) == 4)
    for (line,), heights in ((stopped, [0, 0, 0, 0]), (finished, [0.5, 0.5, 0.5, 0.25])):
        assert line[:, 0].tolist() == [0, 1, 2, 3]
        assert line[:, 1].tolist() == pytest.approx(heights, abs=0.04)  # the category is spread by up to 0.035
    assert selected.tolist() == pytest.approx([1, 1, 1, 0.5], abs=0.04)
    assert [len(collection.get_segments()) for collection in sam.collections] == [0, 1]


def test_parallel_coordinates_order_presets_by_strength_name_the_ends_of_ranges_and_colour_by_value_over_all_arms():
    unet, sam = parallel_coordinates(trials(*TRIALS)).axes
    words = {text.get_text(): round(text.get_position()[1], 6) for text in unet.texts}
    assert {"LIGHT": 0, "MEDIUM": 0.5, "HEAVY": 1}.items() <= words.items()
    ends = {"0.0001": 0, "0.001": 0.5, "0.01": 1, "0": 0, "0.25": 0.5, "0.5": 1, "0.4": 0, "0.8": 1}
    assert ends.items() <= words.items()
    low, middle = (to_hex(colour) for colour in unet.collections[1].get_edgecolor())
    (high,) = (to_hex(colour) for colour in sam.collections[1].get_edgecolor())
    assert len({low, middle, high}) == 3
    assert [to_hex(colour) for colour in unet.collections[0].get_edgecolor()] == ["#999999"]


def test_parallel_coordinates_name_the_numbers_that_can_be_chosen():
    logs = trials(*TRIALS)
    runs = logs.runs.assign(**{"hyperparameters/attention_window": [8.0, 16.0, 8.0, 8.0, 8.0, 8.0]})
    for arm in logs.study["arms"]:
        arm["ranges"] = {**RANGES, "attention_window": {"choices": [4, 8, 16]}}
    axes, _ = parallel_coordinates(dataclasses.replace(logs, runs=runs)).axes
    (place,) = (p for p, label in enumerate(axes.get_xticklabels()) if label.get_text() == "attention window")
    words = {t.get_text(): t.get_position()[1] for t in axes.texts if round(t.get_position()[0] + 0.03, 6) == place}
    assert words == {"4": 0, "8": 0.5, "16": 1}
    heights = [segment[place, 1] for drawn in axes.collections for segment in drawn.get_segments()]
    assert sorted(heights) == pytest.approx([0.5, 0.5, 1], abs=0.04)
    assert len(set(heights)) == 3  # lines of one choice lie side by side


def test_parallel_coordinates_stretch_an_axis_to_a_recipe_outside_its_range():
    outside = [
        ("unet", 0, "finished", 0.5, 1e-1, "NONE", 0.3),
        ("unet", 1, "finished", 0.5, 1e-4, "LIGHT", 0.3),
    ]
    (axes,) = parallel_coordinates(trials(*outside)).axes
    lines = np.stack(axes.collections[1].get_segments())
    assert lines[:, 0, 1].tolist() == [1, 0]
    assert lines[:, 1, 1].tolist() == pytest.approx([0, 1 / 3], abs=0.04)
    assert lines[:, 3, 1].tolist() == [0.5, 0.5]  # one value alone has no end


def test_parallel_coordinates_draw_some_of_many_trials_and_always_the_selected_one():
    many = [("unet", number, "finished", number / 1000, 1e-3, "LIGHT", 0.3) for number in range(1000)]
    figure = parallel_coordinates(trials(*many, selected=999))
    (axes,) = figure.axes
    assert len(axes.collections[1].get_segments()) == 200
    assert [line.get_ydata()[-1] for line in axes.lines if len(line.get_ydata()) == 4] == [1]
    assert axes.get_title(loc="left") == f"{UNET}, 24 tiles, 201 of 1000 trials"
    assert len(render(figure, "svg")) < 250_000


def test_parallel_coordinates_are_none_where_no_trial_of_a_search_has_a_value():
    logs = trials(*TRIALS)
    for runs in (logs.runs[logs.runs["stage"] == "final"], logs.runs[logs.runs["state"] == "failed"]):
        assert parallel_coordinates(dataclasses.replace(logs, runs=runs)) is None


def points(axes: Axes, label: str) -> list[list[float]]:
    (line,) = (line for line in axes.lines if line.get_color() == looks([UNET, SAM])[label][0])
    return line.get_xydata().tolist()


def test_levels_are_in_the_order_of_presets_with_a_panel_per_number_of_tiles():
    (axes,) = fixed_values(PRESETS, name="augmentation", metric="val IoU", trivial=0.2).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["NONE", "LIGHT", "EXTREME"]
    assert points(axes, UNET) == [pytest.approx([0, 0.5], abs=0.1), pytest.approx([2, 0.4], abs=0.1)]
    assert points(axes, SAM) == [pytest.approx([0, 0.6], abs=0.1), pytest.approx([1, 0.7], abs=0.1)]
    assert points(axes, UNET)[0][0] < points(axes, SAM)[0][0]
    segments = [segment for drawn in axes.collections for segment in drawn.get_segments()]
    intervals = [[y for _, y in segment] for segment in segments if segment.size and np.isfinite(segment).all()]
    assert intervals == [[0.3, 0.5], [0.5, 0.7], [0.6, 0.8]]
    assert [list(line.get_ydata()) for line in axes.lines if line.get_linestyle() == "--"] == [[0.2, 0.2]]
    many, few = fixed_values(PRESETS.assign(tiles=[5, 5, 24, 24]), name="augmentation", metric="val IoU").axes
    assert [axes.get_title(loc="left") for axes in (many, few)] == ["24 tiles", "5 tiles"]
    assert (points(many, UNET), len(points(few, UNET))) == ([], 2)


@pytest.mark.parametrize(("name", "scale"), [("lr", "log"), ("bce_weight", "linear")])
def test_levels_of_numbers_stand_at_their_value(name, scale):
    frame = PRESETS.assign(value=[0.1, 0.001, 0.1, 0.9])
    (axes,) = fixed_values(frame, name=name, metric="val IoU").axes
    assert axes.get_xscale() == scale
    step = 0.15 if name == "lr" else 0.02
    distance = [
        abs(math.log10(x / level) if name == "lr" else x - level)
        for label, values in ((UNET, [0.001, 0.1]), (SAM, [0.1, 0.9]))
        for (x, _), level in zip(points(axes, label), values, strict=True)
    ]
    assert max(distance) < step
    FigureCanvasAgg(axes.get_figure()).draw()
    values = [float(label.get_text()) for label in axes.get_xticklabels() if label.get_text()]  # no formula among them
    assert {0.001, 0.1} <= {*values}


FIGURES = {
    "importance": lambda: importance(SHARES, title="demo"),
    "parallel_coordinates": lambda: parallel_coordinates(trials(*TRIALS, selected=1)),
    "levels": lambda: fixed_values(PRESETS, name="augmentation", metric="val IoU", title="demo", trivial=0.2),
    "levels of lr": lambda: fixed_values(PRESETS.assign(value=[0.1, 0.001, 0.1, 0.9]), name="lr", metric="val IoU"),
}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_figures_cut_nothing_off_overlap_nowhere_and_are_the_same_bytes(draw):
    assert_all_is_seen(draw())
    svg = render(draw(), "svg")
    assert svg == render(draw(), "svg")
    assert b"#000000" not in svg
    assert INK.encode() in svg
