"""Makes the sections of a report about one study each."""

from typing import TypedDict

import pandas as pd

from analysis.figures import class_figures, curve_figures, iou_figures, search_figures
from analysis.figures.drawing import metric_words
from analysis.logs.frames import Logs
from analysis.report import captions
from analysis.report.blocks import Blocks, made
from analysis.report.conclude.tuning import what_tuning_bought
from analysis.report.document import FigureBlock, Section, TableBlock
from analysis.report.study_notes import study_notes
from analysis.tables import classes, contrasts, formatting, search_results
from analysis.tables.arm_scores import iou_by_arm, iou_by_model
from analysis.tables.comparison import bootstrap_check
from analysis.tables.elsewhere import elsewhere
from analysis.tables.iou_tables import iou_by_architecture, iou_by_tiles
from analysis.tables.settings import settings
from analysis.tables.spread import spread
from analysis.tables.tile_scores import final_split
from analysis.tables.tuning import tuned_minus_recipe

PHASES = {
    "phase1_comparison": "Phase 1, comparison of recipes",
    "phase2_tuning": "Phase 2, comparison after tuning",
    "phase3_data_budget": "Phase 3, fewer labelled tiles",
}
_IN_TABLE = "The table above has the numbers."


class _Drawn(TypedDict):
    """What both figures of IoU are drawn from, beside the means."""

    models: pd.DataFrame
    metric: str
    trivial: float | None
    title: str
    labels: list[str]


def iou_section(blocks: Blocks, logs: Logs) -> Section:
    """Returns the main results: IoU by architecture and by tiles, planned contrasts, and the hyperparameters."""
    split, vary = final_split(logs), logs.study["spec"].get("vary")
    main, trivial = iou_by_architecture(logs), classes.constant_iou(logs, split)
    by_arm = iou_by_arm(logs, with_recipes=True)
    drawn: _Drawn = {
        "models": iou_by_model(logs),
        "metric": f"{split} IoU",
        "trivial": trivial,
        "title": captions.title(logs),
        "labels": blocks.labels,
    }
    by_architecture = f"{split.capitalize()} IoU by architecture"
    by_tiles = f"{split.capitalize()} IoU by number of tiles"
    name = "Phase 2, fixed values of " + formatting.heading(vary) if vary else PHASES[logs.study["phase"]]
    return Section(
        f"{name}: {logs.study['study']}",
        made(
            blocks.table(
                "iou_by_architecture",
                logs,
                "IoU by architecture",
                main,
                captions.main_words(logs, main),
                study_notes(logs),
            ),
            blocks.table(
                "iou_by_tiles",
                logs,
                "IoU by number of tiles",
                iou_by_tiles(logs),
                captions.by_tiles_words(logs, split),
            ),
            blocks.table("elsewhere", logs, "Does the ranking hold elsewhere?", elsewhere(logs), captions.ELSEWHERE),
            blocks.figure(
                "intervals",
                logs,
                by_architecture,
                None if by_arm.empty else iou_figures.intervals(by_arm, **drawn),
                captions.DOTS,
                f"{by_architecture} with intervals. {_IN_TABLE}",
            ),
            blocks.figure(
                "tiles_curve",
                logs,
                by_tiles,
                iou_figures.by_tiles(by_arm, **drawn),
                captions.DOTS,
                f"{by_tiles} with intervals. {_IN_TABLE}",
            ),
            _architecture_contrasts(blocks, logs),
            blocks.table(
                "tuned_minus_recipe",
                logs,
                "What tuning bought: tuned \N{MINUS SIGN} recipe",
                tuned_minus_recipe(logs).rename(columns={"contrast": "architecture"}),
                captions.TUNING,
                what_tuning_bought(logs),
            ),
            blocks.table("settings", logs, "Hyperparameters of every architecture", settings(logs), captions.SETTINGS),
        ),
    )


def class_section(blocks: Blocks, logs: Logs) -> Section:
    """Returns the scores by class and over classes, and how often each class occurs."""
    split, by_class, shares = final_split(logs), classes.scores_by_class(logs), classes.class_shares(logs)
    colors = dict(zip(logs.study.get("classes", ()), logs.study.get("class_colors", ()), strict=True))
    of_iou = by_class[by_class["score"] == classes.METRICS["iou"]] if "score" in by_class else pd.DataFrame()
    labels = [column for column in by_class if column not in {"score", *shares}]
    metric = f"{split.capitalize()} IoU by class"
    return Section(
        f"Scores by class: {logs.study['study']}",
        made(
            blocks.table(
                "scores_over_classes",
                logs,
                "Scores over all classes",
                classes.scores_over_classes(logs),
                captions.OVER_CLASSES,
            ),
            blocks.table(
                "scores_by_class",
                logs,
                f"{split.capitalize()} scores by class, and how often each class occurs",
                by_class.rename(columns={label: f"{formatting.OF}{label}" for label in labels}),
                f"{captions.study_words(logs)} {captions.BY_CLASS}",
            ),
            blocks.figure(
                "class_iou",
                logs,
                metric,
                None
                if of_iou.empty
                else class_figures.by_class(
                    of_iou[["class", split, *labels]].reset_index(drop=True),
                    metric=f"{split} IoU, pooled over tiles",
                    title=captions.title(logs),
                    labels=blocks.labels,
                ),
                "Scores are pooled over tiles and averaged over the final models.",
                f"{metric}. {_IN_TABLE}",
            ),
            blocks.figure(
                "class_shares",
                logs,
                "How often each class occurs",
                None if shares.empty else class_figures.shares(shares, colors, title=captions.title(logs)),
                "Shares of the labelled pixels of each split (of all pixels for ignored ones).",
                f"Shares of the classes. {_IN_TABLE}",
            ),
        ),
    )


def search_section(blocks: Blocks, logs: Logs) -> Section:
    """Returns what the search of a study found, or the scores of each fixed value."""
    metric, vary = metric_words(logs.study["judged_metric"]), logs.study["spec"].get("vary")
    importances, values = search_results.importances(logs), search_results.fixed_values(logs)
    preset_words = f"{captions.PRESET_CONTRASTS} {captions.CONTRASTS}"
    return Section(
        f"Results of the search: {logs.study['study']}",
        made(
            blocks.figure(
                "trials", logs, "Every trial of the search", iou_figures.trials(logs, blocks.labels), captions.TRIALS
            ),
            _expected(blocks, logs, metric),
            blocks.table(
                "fixed_values",
                logs,
                f"Fixed values of {vary}",
                with_interval_columns(values.drop(columns="architecture", errors="ignore")),
                f"Scores are the {metric}. {captions.FIXED_VALUES}",
            ),
            blocks.figure(
                "fixed_values_curve",
                logs,
                f"Fixed values of {vary}",
                None
                if values.empty
                else search_figures.fixed_values(
                    values, name=str(vary), metric=metric, title=captions.title(logs), labels=blocks.labels
                ),
                captions.FIXED_VALUES,
                _IN_TABLE,
            ),
            blocks.table(
                "preset_contrasts",
                logs,
                "Presets that were expected to win",
                contrasts.preset_contrasts(logs),
                preset_words,
            ),
            blocks.table("importance", logs, "Importance of hyperparameters", importances, captions.IMPORTANCE),
            blocks.figure(
                "importance_bars",
                logs,
                "Importance of hyperparameters",
                search_figures.importance(
                    importances.rename(columns={"architecture": "label"}),
                    title=captions.title(logs),
                    labels=blocks.labels,
                )
                if not importances.empty and importances["importance"].notna().any()
                else None,
                captions.IMPORTANCE,
                _IN_TABLE,
            ),
            blocks.figure(
                "parallel",
                logs,
                "Hyperparameters of every trial",
                None if vary else search_figures.parallel_coordinates(logs),
                captions.PARALLEL,
            ),
        ),
    )


def cost_blocks(blocks: Blocks, logs: Logs) -> tuple[TableBlock | FigureBlock | None, ...]:
    """Returns what each arm of a study cost, and what more trials would have brought."""
    cost = search_results.cost(logs)
    caption = f"{captions.study_words(logs)} {captions.cost_words(cost, search_results.hours_word(logs))}"
    if any(arm.get("folds") for arm in logs.study["arms"]):
        caption += " An epoch of a cross-validated trial is one of the network of each fold."
    caption = f"{caption} {captions.forecast_words(logs)}".rstrip()
    curves = curve_figures.cost_curves(logs, blocks.labels)
    return (
        blocks.table("cost", logs, f"Trials and cost: {logs.study['study']}", cost, caption),
        blocks.figure("best_so_far", logs, "Best score against cost", curves, captions.BEST_SO_FAR),
    )


def spread_block(blocks: Blocks, logs: Logs) -> TableBlock | None:
    """Returns how far the scores of a study spread."""
    title = f"Spread of IoU: {logs.study['study']}"
    return blocks.table("spread", logs, title, spread(logs), captions.spread_words(logs))


def bootstrap_block(blocks: Blocks, logs: Logs) -> TableBlock | None:
    """Returns what the bootstrap says of the main table's means, as a check."""
    title = f"Means and ranks by bootstrap: {logs.study['study']}"
    return blocks.table("bootstrap", logs, title, bootstrap_check(logs), captions.BOOTSTRAP)


def curves_block(blocks: Blocks, logs: Logs) -> FigureBlock | None:
    """Returns the learning curves of a study."""
    figure = curve_figures.learning_curves(logs, blocks.labels)
    caption = "A line per trial; a hollow mark is where ASHA stopped it."
    return blocks.figure("learning", logs, f"Learning curves: {logs.study['study']}", figure, caption)


def with_interval_columns(values: pd.DataFrame) -> pd.DataFrame:
    """Returns a frame with the interval's columns named after the mean, for a table."""
    return values.rename(columns={"label": "architecture", "low": "mean_low", "high": "mean_high"})


def _architecture_contrasts(blocks: Blocks, logs: Logs) -> TableBlock | None:
    frame = contrasts.architecture_contrasts(logs)
    return blocks.table("contrasts", logs, "Planned contrasts", frame, captions.contrast_words(logs))


def _expected(blocks: Blocks, logs: Logs, metric: str) -> FigureBlock | None:
    frame = search_results.expected(logs)
    if frame.empty:
        return None
    figure = curve_figures.expected_best(frame, metric=metric, title=captions.title(logs), labels=blocks.labels)
    return blocks.figure("expected", logs, "Expected best of n random trials", figure, captions.EXPECTED)
