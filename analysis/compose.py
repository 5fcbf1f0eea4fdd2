"""Composes a report of one or more studies: the answer first, then what it rests on, in reading order."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

import pandas as pd
from matplotlib.figure import Figure

from analysis import curve_figures, drawing, figures, results, search_figures, search_results, sliders, tables
from analysis.answer import answer, deciding_study
from analysis.document import Block, Document, FigureBlock, Section, TableBlock, TextBlock
from analysis.logs import Logs
from analysis.remarks import remarks, warnings
from analysis.scores import final_split
from analysis.stats import NUM_REPLICATES

PHASES = {
    "phase1_comparison": "Phase 1, one recipe for all",
    "phase2_tuning": "Phase 2, tuned and confirmed",
    "phase3_data_budget": "Phase 3, fewer tiles",
}


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A report before it is written.

    Attributes:
        document: What is read.
        frames: Every table with all of its numbers, by the name of its block; and tables that are files only.
        figures: Every figure, by the name of its block.
    """

    document: Document
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)


def compose(studies: Sequence[Logs]) -> Composed:
    """Returns the report of some studies, at least one, each by another name."""
    return _Composer(studies).compose()


class _Composer:
    """Collects blocks; each is named after what it shows and, where there are several studies, after its own."""

    def __init__(self, studies: Sequence[Logs]):
        self._studies = studies
        self._frames: dict[str, pd.DataFrame] = {}
        self._figures: dict[str, Figure] = {}

    def compose(self) -> Composed:
        sections = [
            *(self._comparison(logs) for logs in self._studies if logs.study["phase"] != "phase3_data_budget"),
            self._budgets(),
            self._cost(),
            *(self._tuning(logs) for logs in self._studies if (logs.runs["stage"] == "search").any()),
            self._spread(),
            self._gaps(),
            self._curves(),
            self._predictions(),
            self._provenance(),
        ]
        self._files()
        document = Document(
            title="Which architecture to trust with few labelled tiles",
            subtitle="; ".join(f"{', '.join(names)}: {tiles}" for tiles, names in self._tiles().items()) + ".",
            answer=answer(self._studies),
            warnings=tuple(self._warnings()),
            sections=tuple(section for section in sections if section.blocks),
            footer=("Made by Fewtile from W&B logs alone.",),
        )
        return Composed(document=document, frames=self._frames, figures=self._figures)

    def _comparison(self, logs: Logs) -> Section:
        split = final_split(logs)
        cells, trivial = results.cells(logs), logs.study["trivial"]["iou"]
        blocks: list[Block | None] = [
            self._table("standing", logs, "Which is best, and how sure that is", results.standing(logs), _STANDING),
            self._table(
                "headline",
                logs,
                "Every architecture with its settings",
                results.headline(logs),
                f"{_study_words(logs)} Scores are means over the final models of an arm, on whole tiles. {_INTERVALS} "
                "Val chose the epoch of each model, so val scores are optimistic. Calling every pixel "
                f"{logs.study['trivial']['class']} would score val IoU {trivial:.3f}. "
                f"{_NO_FINALS if logs.models.empty else ''}".strip(),
                tuple(remarks(logs)),
            ),
            self._figure(
                "intervals",
                logs,
                f"{split.capitalize()} IoU by architecture",
                None
                if cells.empty
                else figures.intervals(
                    cells,
                    results.points(logs),
                    metric=f"{split} IoU",
                    trivial=trivial if split == "val" else None,
                    title=_title(logs),
                    labels=self._labels(),
                ),
                "Small dots are models, large marks their means, lines the 95 % intervals.",
                f"{split} IoU of every architecture with its interval; the numbers are in the tables above.",
            ),
            self._contrasts(logs, "contrasts", results.contrasts(logs), "Planned contrasts"),
        ]
        vary = logs.study["spec"].get("vary")
        phase = f"Phase 2, {tables.heading(vary)} varied alone" if vary else PHASES[logs.study["phase"]]
        return Section(f"{phase}: {logs.study['study']}", _known(blocks))

    def _contrasts(self, logs: Logs, name: str, frame: pd.DataFrame, title: str) -> TableBlock | None:
        caption = (
            f"{_HYPOTHESES if name == 'presets' else _PLANNED} Differences are paired on tiles and seeds; the effect "
            "is Cohen's d over tiles. p is of a sign-flip test over tiles and speaks of these models on tiles like "
            "these (the interval also of newly trained ones); p (places) flips the tiles of a place together; p (Holm) "
            "is corrected for all rows. The smallest p is the least that Holm's could be with so few tiles: where it "
            "is above 0.05, no difference, however large, could be called significant. P(better) is how often a model "
            "of the first beats one of the second on the same tile."
        )
        weights = {arm["weights"] for arm in logs.study["arms"] if arm["architecture"] == "unet_resnet34"}
        if weights == {"none"} and (frame["what"] == "encoder").any():
            caption += " Without pretrained weights, 02 \N{MINUS SIGN} 01 compares encoders, not pretraining."
        return self._table(name, logs, title, frame, caption)

    def _budgets(self) -> Section:
        blocks: list[Block | None] = []
        for logs in self._studies:
            frame = results.by_tiles(logs)
            split = final_split(logs)
            if not frame.empty:
                curve = figures.by_tiles(
                    results.cells(logs),
                    results.points(logs),
                    metric=f"{split} IoU",
                    trivial=None,
                    title=_title(logs),
                    labels=self._labels(),
                )
                words = f"{_study_words(logs)} Mean {split} IoU over the final models. {_INTERVALS}"
                blocks += [
                    self._table("tiles", logs, "IoU by number of tiles", frame, words, tuple(remarks(logs))),
                    self._figure(
                        "tiles_curve", logs, f"{split.capitalize()} IoU by number of tiles", curve, _DOTS, words
                    ),
                ]
            if logs.study["phase"] == "phase3_data_budget":
                blocks.append(self._contrasts(logs, "contrasts", results.contrasts(logs), "Planned contrasts by tiles"))
                blocks.append(
                    self._table(
                        "cells", logs, "Every arm", _spelled(results.cells(logs)), f"{_study_words(logs)} {_CELLS}"
                    )
                )
        return Section("How few tiles are enough", _known(blocks))

    def _spread(self) -> Section:
        blocks = [
            self._table("variance", logs, f"Spread of IoU in {logs.study['study']}", results.variances(logs), _VARIANCE)
            for logs in self._studies
            if not logs.models.empty
        ]
        return Section("Where the spread comes from", _known(blocks))

    def _cost(self) -> Section:
        blocks: list[Block | None] = []
        for logs in self._studies:
            words = search_results.hours_word(logs)
            caption = (
                f"{_study_words(logs)} Hours are {words} (wall clock × {'GPU share' if 'GPU' in words else 'cores'}). "
                "Lost epochs were trained again. Saved epochs are what ASHA's stopped trials had left: at most that, "
                "since some would have ended by themselves."
            )
            curves = curve_figures.cost_curves(logs, self._labels())
            blocks += [
                self._table("accounting", logs, "Allowance and cost", search_results.accounting(logs), caption),
                self._figure("cost", logs, "What more trials would have bought", curves, _COST, _COST),
            ]
        return Section("At what cost", _known(blocks))

    def _tuning(self, logs: Logs) -> Section:
        importances, levels = search_results.importances(logs), search_results.levels(logs)
        metric = drawing.metric_words(logs.study["judged_metric"])
        vary = logs.study["spec"].get("vary")
        blocks = [
            self._figure(
                "trials", logs, "Every trial of the search", figures.trials(logs, self._labels()), _TRIALS, _TRIALS
            ),
            self._expected(logs, metric),
            self._table(
                "levels", logs, f"Fixed values of {vary}", _spelled_levels(levels), f"Each is the {metric}. {_LEVELS}"
            ),
            self._figure(
                "levels_curve",
                logs,
                f"Fixed values of {vary}",
                None
                if levels.empty
                else search_figures.levels(
                    levels, name=str(vary), metric=metric, title=_title(logs), labels=self._labels()
                ),
                _LEVELS,
                "The numbers are in the table above.",
            ),
            self._contrasts(logs, "presets", search_results.preset_contrasts(logs), "What was expected of presets"),
            self._table("importance", logs, "Hyperparameters", importances, _IMPORTANCE),
            self._figure(
                "importance_bars",
                logs,
                "Importance of hyperparameters",
                search_figures.importance(
                    importances.rename(columns={"architecture": "label"}), title=_title(logs), labels=self._labels()
                )
                if not importances.empty and importances["importance"].notna().any()
                else None,
                _IMPORTANCE,
                "The numbers are in the table above.",
            ),
            self._figure(
                "parallel",
                logs,
                "Settings of every trial",
                None if vary else search_figures.parallel_coordinates(logs),
                "A line per trial, from its settings to the score that it was judged by; grey ones were stopped early.",
                "Settings of the trials of each arm; those with the best scores are in the table of hyperparameters.",
            ),
        ]
        return Section(f"What tuning found: {logs.study['study']}", _known(blocks))

    def _expected(self, logs: Logs, metric: str) -> FigureBlock | None:
        frame = search_results.expected(logs)
        if frame.empty:
            return None
        figure = curve_figures.expected_best(frame, metric=metric, title=_title(logs), labels=self._labels())
        return self._figure("expected", logs, "What n random trials find", figure, _EXPECTED, _EXPECTED)

    def _gaps(self) -> Section:
        blocks = [
            self._table("gap", logs, f"Val against test: {logs.study['study']}", frame, _gap_words(frame))
            for logs, frame in ((logs, results.gaps(logs)) for logs in self._studies)
        ]
        return Section("How far val can be believed", _known(blocks))

    def _curves(self) -> Section:
        blocks = [
            self._figure(
                "learning",
                logs,
                f"Learning curves: {logs.study['study']}",
                curve_figures.learning_curves(logs, self._labels()),
                "A line per trial; a hollow mark is where ASHA stopped it.",
                "Judged IoU by epoch of every trial, per arm.",
            )
            for logs in self._studies
        ]
        return Section("Learning curves", _known(blocks))

    def _predictions(self) -> Section:
        return Section("Predictions on test tiles", sliders.overlays(deciding_study(self._studies)), sliders.RULE)

    def _provenance(self) -> Section:
        notes = [note for logs in self._studies for note in logs.notes if "has not ended" not in note]
        paragraphs = (
            f"Intervals are percentiles of {NUM_REPLICATES} bootstrap replicates that draw tile groups (places, where "
            "the data set names them; else tiles), seeds and tile subsets independently and with replacement "
            "(the pigeonhole bootstrap of Owen 2007). The same draws serve all arms, so differences and ranks are "
            "paired.",
            "Every number can be traced: tables/models.csv has a row per final model with its scores, seeds, "
            "configuration signature, attempt in the register of test openings, and W&B run; tables/trials.csv a row "
            "per trial; tables/scores.csv one per model and tile.",
            *notes,
        )
        return Section("How these numbers came about", (TextBlock(paragraphs),))

    def _tiles(self) -> dict[str, list[str]]:
        """The tiles that were used, and the names of the studies that used them."""
        found: dict[str, list[str]] = {}
        for logs in self._studies:
            found.setdefault(_tiles_words(logs), []).append(logs.study["study"])
        return found

    def _warnings(self) -> list[str]:
        """Those of all studies; what several share is said once, the others name their study."""
        return [*self._different_tiles(), *self._higher_elsewhere(), *self._shared_warnings()]

    def _different_tiles(self) -> list[str]:
        """Says so where the studies did not use the same tiles, so that nobody compares their scores."""
        by_tiles: dict[tuple[object, ...], list[str]] = {}
        for logs in self._studies:
            by_tiles.setdefault(_tiles_key(logs), []).append(logs.study["study"])
        if len(by_tiles) == 1:
            return []
        apart = " | ".join(", ".join(names) for names in by_tiles.values())
        return [
            f"These studies are NOT ON THE SAME TILES ({apart}): scores from either side of a bar cannot be compared."
        ]

    def _higher_elsewhere(self) -> list[str]:
        """Says so where a study that does not decide has scored higher on the same tiles than the one that does."""
        if len(self._studies) == 1:
            return []
        deciding = deciding_study(self._studies)
        mine, split = results.cells(deciding), final_split(deciding)
        mine = mine[mine["tiles"] == mine["tiles"].max()]
        found = []
        for logs in self._studies:
            theirs = results.cells(logs)
            theirs = theirs[theirs["tiles"].isin(mine["tiles"])].sort_values("mean", ascending=False, kind="stable")
            is_alike = final_split(logs) == split and _tiles_key(logs) == _tiles_key(deciding)
            if not is_alike or theirs.empty or not theirs["mean"].iloc[0] > mine["mean"].max():
                continue
            best = theirs.iloc[0]
            found.append(
                f"{logs.study['study']} scored higher with {best['tiles']} tiles: {split} IoU {best['mean']:.3f} "
                f"({best['label']}), against {mine['mean'].max():.3f} in {deciding.study['study']}, on which the "
                "first sentence rests."
            )
        return found

    def _shared_warnings(self) -> list[str]:
        found: dict[str, list[str]] = {}
        for logs in self._studies:
            for text in warnings(logs):
                found.setdefault(text, []).append(logs.study["study"])
        if len(self._studies) == 1:
            return list(found)
        return [
            text if len(names) == len(self._studies) else f"{', '.join(names)}: {text}" for text, names in found.items()
        ]

    def _files(self) -> None:
        """Tables that are too long to be read: of models, trials and scores."""
        for name in ("models", "runs", "scores"):
            frames = [getattr(logs, name).assign(study=logs.study["study"]) for logs in self._studies]
            self._frames["trials" if name == "runs" else name] = pd.concat(frames, ignore_index=True)

    def _labels(self) -> list[str]:
        """Of all studies, so that an architecture looks the same in all figures."""
        return list(dict.fromkeys(arm["architecture_label"] for logs in self._studies for arm in logs.study["arms"]))

    def _name(self, name: str, logs: Logs) -> str:
        place = next(place for place, other in enumerate(self._studies, start=1) if other is logs)
        return name if len(self._studies) == 1 else f"{name}_{place}"

    def _table(
        self, name: str, logs: Logs, title: str, frame: pd.DataFrame, caption: str, notes: tuple[str, ...] = ()
    ) -> TableBlock | None:
        if frame.empty:
            return None
        name = self._name(name, logs)
        self._frames[name] = frame
        empty = {str(column) for column in frame.columns if frame[column].isna().all()}
        hidden = {column for column in empty if column.removesuffix("_low").removesuffix("_high") in empty}
        known = frame.drop(columns=[*hidden, *_IN_FILES_ONLY], errors="ignore")  # without interval, it says n = 1
        return TableBlock(name=name, title=title, caption=caption, frame=tables.shown(known), notes=notes)

    def _figure(
        self, name: str, logs: Logs, title: str, figure: Figure | None, caption: str, alt: str
    ) -> FigureBlock | None:
        if figure is None:
            return None
        name = self._name(name, logs)
        self._figures[name] = figure
        svg = figures.render(figure, "svg").decode()
        return FigureBlock(name=name, title=title, caption=caption, svg=svg, alt=alt)


_IN_FILES_ONLY = ["trivial_iou"]
_STANDING = (
    "Means over the final models, on whole tiles, with 95 % intervals over places (or tiles) and models. P(best) is "
    "the share of bootstrap replicates in which an architecture has the highest mean of those with as many tiles; "
    "ranks are over the same replicates. Behind the best is the paired difference to the first with as many tiles: "
    "where its interval holds 0, the two cannot be told apart. A single model cannot be compared, so it has none of "
    "these."
)
_INTERVALS = (
    "Behind each IoU stands its 95 % interval, over places (or tiles) and models; n = 1 where one model is all."
)
_PLANNED = (
    "The pairs that were planned, and no others: 01 is unet, 02 unet_resnet34, 03 deeplabv3plus_resnet34, 04 sam_conv "
    "and 05 sam_unet."
)
_HYPOTHESES = "Of each architecture, the presets that were expected to win against all others, on the val tiles."
_NO_FINALS = "No final models were scored: these are the best of several trials on val, so they are optimistic."
_DOTS = "Faint dots are models, marks their means, bars the 95 % intervals."
_CELLS = "IoU over the final models of each arm: mean with its interval, median, interquartile mean, and spread."
_COST = (
    "The best score so far of each arm's search, in the order in which trials began, against trials, epochs and hours."
)
_EXPECTED = (
    "The expected best of n trials drawn with replacement from those that were run (Dodge et al. 2019). It means "
    "something since this search drew points at random and stopped none early; failed trials count as 0."
)
_TRIALS = "A dot per trial at its best judged score: filled where it ran its course, hollow where ASHA stopped it."
_LEVELS = "All else is at the recipe. Means over seeds, with 95 % intervals over places (or tiles) and seeds."
_VARIANCE = (
    "Standard deviations of IoU: between tile subsets (draws from this pool of tiles), between seeds, what neither "
    "explains; and, on the val pixels that trials are judged on, between the configurations that the search tried to "
    "their end (one seed each, so seeds are in it). What cannot be told is left out."
)
_IMPORTANCE = (
    "PED-ANOVA's importance of each hyperparameter among trials that ran their course: how far it decided whether a "
    "trial came out on top. It needs 20 such trials, and sums to 1 even where all is noise. A best value at a bound "
    "says that the range may be too narrow."
)


def _known(blocks: Sequence[Block | None]) -> tuple[Block, ...]:
    return tuple(block for block in blocks if block is not None)


def _spelled(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells with the interval's columns named after the mean, for a table."""
    frame = cells.rename(
        columns={"label": "architecture", "low": "mean_low", "high": "mean_high", "num_models": "models"}
    )
    return frame.rename(columns={"num_subsets": "subsets", "num_seeds": "seeds"}).drop(columns="arm")


def _spelled_levels(levels: pd.DataFrame) -> pd.DataFrame:
    """Levels as `_spelled`; the architecture by its label."""
    names = {"label": "architecture", "low": "mean_low", "high": "mean_high"}
    return levels.drop(columns="architecture", errors="ignore").rename(columns=names)


def _gap_words(frame: pd.DataFrame) -> str:
    """What the columns of a table of gaps mean, as far as they are shown."""
    tuned = (
        "Tuned val IoU is that of the selected trial, the best of several; val IoU is that of the same configuration "
        "with new seeds, and optimism the difference. "
    )
    tested = (
        "The gap is val minus test IoU of the same models: these are other tiles, so part of it is how hard they are."
    )
    parts = [words for words, name in ((tuned, "optimism"), (tested, "gap")) if frame[name].notna().any()]
    return "".join(parts).strip() or "Mean val IoU of the final models; the test tiles are still sealed."


def _title(logs: Logs) -> str:
    study = logs.study
    return f"{study['study']}, profile {study['profile']}, seed {study['seed']}"


def _tiles_key(logs: Logs) -> tuple[object, ...]:
    """What is the same for two studies on the same tiles."""
    study = logs.study
    return study.get("tiles_digest"), tuple(study["val_tiles"]), tuple(study["test_tiles"])


def _tiles_words(logs: Logs) -> str:
    study = logs.study
    name = PurePath(study["spec"].get("data") or "demo-tiles").name
    num_val, num_test = len(study["val_tiles"]), len(study["test_tiles"])
    return f"{study['num_train_tiles']} train, {num_val} val and {num_test} test tiles of {name}"


def _study_words(logs: Logs) -> str:
    study = logs.study
    weights = ", ".join(_weights_words(choice) for choice in study["spec"].get("weights", ()))
    return (
        f"Study {study['study']}, profile {study['profile']}, seed {study['seed']}, {len(study['val_tiles'])} val and "
        f"{len(study['test_tiles'])} test tiles, encoder weights: {weights or 'none'}."
    )


def _weights_words(choice: str) -> str:
    """A choice of weights without the folder of its file: `resnet34=a/b.pth` is "resnet34 b.pth"."""
    encoder, _, weights = choice.rpartition("=")
    return f"{encoder} {PurePath(weights).name}".strip()
