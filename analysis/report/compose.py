"""Composes a report of one or more studies: the answer first, then what it rests on, in reading order."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import class_figures, curve_figures, drawing, figures, search_figures
from analysis.logs.frames import Logs
from analysis.report import captions, sliders
from analysis.report.answer import answer, deciding_study
from analysis.report.document import Block, Document, FigureBlock, Section, TableBlock, TextBlock
from analysis.report.joined import joint_warnings
from analysis.report.remarks import remarks
from analysis.stats.summaries import NUM_REPLICATES
from analysis.tables import classes, results, search_results
from analysis.tables import formatting as tables
from analysis.tables import planned_contrasts as planned
from analysis.tables.scores import final_split

PHASES = {
    "phase1_comparison": "Phase 1, nothing searched",
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


def compose(studies: Sequence[Logs], links: tuple[tuple[str, str], ...] = ()) -> Composed:
    """Returns the report of some studies, at least one, each by another name; `links` are to pages beside it."""
    return _Composer(studies).compose(links)


class _Composer:
    """Collects blocks; each is named after what it shows and, where there are several studies, after its own."""

    def __init__(self, studies: Sequence[Logs]):
        self._studies = studies
        self._frames: dict[str, pd.DataFrame] = {}
        self._figures: dict[str, Figure] = {}

    def compose(self, links: tuple[tuple[str, str], ...]) -> Composed:
        sections = [
            *(self._comparison(logs) for logs in self._studies if logs.study["phase"] != "phase3_data_budget"),
            self._budgets(),
            *(self._classes(logs) for logs in self._studies),
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
            warnings=tuple(joint_warnings(self._studies)),
            sections=tuple(section for section in sections if section.blocks),
            footer=("Made by Fewtile from W&B logs alone.",),
            links=links,
        )
        return Composed(document=document, frames=self._frames, figures=self._figures)

    def _comparison(self, logs: Logs) -> Section:
        split = final_split(logs)
        cells, trivial = results.cells(logs), classes.constant_iou(logs, split)
        blocks: list[Block | None] = [
            self._table(
                "standing", logs, "Which is best, and how sure that is", results.standing(logs), captions.STANDING
            ),
            self._table(
                "headline",
                logs,
                "Every architecture with its settings",
                results.headline(logs),
                f"{captions.study_words(logs)} Scores are means over the final models of an arm, on whole tiles. "
                f"{captions.INTERVALS} "
                f"Val chose the epoch of each model, so val scores are optimistic. {captions.trivial_words(logs)} "
                f"{captions.NO_FINALS if logs.models.empty else ''}".strip(),
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
                    trivial=trivial,
                    title=captions.title(logs),
                    labels=self._labels(),
                ),
                "Small dots are models, large marks their means, lines the 95 % intervals.",
                f"{split} IoU of every architecture with its interval; the numbers are in the tables above.",
            ),
            self._contrasts(logs, "contrasts", planned.contrasts(logs), "Planned contrasts"),
            self._cells(logs),
        ]
        vary = logs.study["spec"].get("vary")
        phase = f"Phase 2, {tables.heading(vary)} varied alone" if vary else PHASES[logs.study["phase"]]
        return Section(f"{phase}: {logs.study['study']}", _known(blocks))

    def _cells(self, logs: Logs) -> TableBlock | None:
        caption = f"{captions.study_words(logs)} {captions.CELLS}"
        return self._table("cells", logs, "Every arm in numbers", _spelled(results.cells(logs)), caption)

    def _contrasts(self, logs: Logs, name: str, frame: pd.DataFrame, title: str) -> TableBlock | None:
        caption = (
            f"{captions.HYPOTHESES if name == 'presets' else captions.PLANNED} "
            "Differences are paired on tiles and seeds; the effect is Cohen's d over tiles, of these models' means. p "
            "is of a sign-flip test over tiles and speaks of these models on tiles like these (the interval also of "
            "newly trained ones); p (places) flips the tiles of a place together; p (Holm) is corrected for all rows. "
            "The smallest p is the least that Holm's could be with so few tiles: where it is above 0.05, no "
            "difference, however large, could be called significant. P(better) is how often a model of the first "
            "beats one of the second on the same tile."
        )
        stand_ins = dict.fromkeys(arm["architecture_label"] for arm in logs.study["arms"] if arm["is_stand_in"])
        if stand_ins and name != "presets":
            caption += f" Of these are stand-ins here: {', '.join(stand_ins)}."
        weights = {arm["weights"] for arm in logs.study["arms"] if arm["architecture"] == "unet_resnet34"}
        if weights == {"none"} and (frame["what"] == "encoder").any():
            caption += (
                " Without pretrained weights, 02 \N{MINUS SIGN} 01 compares the two networks as they are (encoder, "
                "decoder, width, dropout), not pretraining."
            )
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
                    trivial=classes.constant_iou(logs, split),
                    title=captions.title(logs),
                    labels=self._labels(),
                )
                words = f"{captions.study_words(logs)} Mean {split} IoU over the final models. {captions.INTERVALS}"
                blocks += [
                    self._table("tiles", logs, "IoU by number of tiles", frame, words, tuple(remarks(logs))),
                    self._figure(
                        "tiles_curve", logs, f"{split.capitalize()} IoU by number of tiles", curve, captions.DOTS, words
                    ),
                ]
            if logs.study["phase"] == "phase3_data_budget":
                blocks.append(self._contrasts(logs, "contrasts", planned.contrasts(logs), "Planned contrasts by tiles"))
                blocks.append(self._cells(logs))
        return Section("How few tiles are enough", _known(blocks))

    def _classes(self, logs: Logs) -> Section:
        shares, split = classes.distribution(logs), final_split(logs)
        colors = dict(zip(logs.study.get("classes", ()), logs.study.get("class_colors", ()), strict=True))
        scores = classes.by_class(logs, "iou")
        blocks: list[Block | None] = [
            self._table("overall", logs, "Beside the trivial predictor", classes.overall(logs), captions.OVERALL),
            self._by_class("class_iou", logs, f"{split.capitalize()} IoU by class", scores),
            self._figure(
                "class_iou_marks",
                logs,
                f"{split.capitalize()} IoU by class",
                None
                if scores.empty
                else class_figures.by_class(
                    scores, metric=f"{split} IoU, pooled over tiles", title=captions.title(logs), labels=self._labels()
                ),
                captions.BY_CLASS,
                "The numbers are in the table above.",
            ),
            self._by_class("class_f1", logs, f"{split.capitalize()} F1 by class", classes.by_class(logs, "f1")),
            self._table("distribution", logs, "How often each class occurs", shares, captions.DISTRIBUTION),
            self._figure(
                "distribution_bars",
                logs,
                "How often each class occurs",
                None if shares.empty else class_figures.distribution(shares, colors, title=captions.title(logs)),
                captions.DISTRIBUTION,
                "The numbers are in the table above.",
            ),
        ]
        return Section(f"Class by class: {logs.study['study']}", _known(blocks))

    def _by_class(self, name: str, logs: Logs, title: str, frame: pd.DataFrame) -> TableBlock | None:
        named = frame.rename(columns={label: f"{tables.OF}{label}" for label in frame.columns[2:]})
        return self._table(name, logs, title, named, f"{captions.study_words(logs)} {captions.BY_CLASS}")

    def _spread(self) -> Section:
        blocks = [
            self._table(
                "variance", logs, f"Spread of IoU in {logs.study['study']}", results.variances(logs), captions.VARIANCE
            )
            for logs in self._studies
            if not logs.models.empty
        ]
        return Section("Where the spread comes from", _known(blocks))

    def _cost(self) -> Section:
        blocks: list[Block | None] = []
        for logs in self._studies:
            words = search_results.hours_word(logs)
            caption = (
                f"{captions.study_words(logs)} "
                f"Hours are {words} (wall clock × {'GPU share' if 'GPU' in words else 'cores'}). "
                "Lost epochs were trained again. Saved epochs are what ASHA's stopped trials had left: at most that, "
                "since some would have ended by themselves."
            )
            curves = curve_figures.cost_curves(logs, self._labels())
            blocks += [
                self._table("accounting", logs, "Allowance and cost", search_results.accounting(logs), caption),
                self._figure("cost", logs, "What more trials would have bought", curves, captions.COST, captions.COST),
            ]
        return Section("At what cost", _known(blocks))

    def _tuning(self, logs: Logs) -> Section:
        importances, levels = search_results.importances(logs), search_results.levels(logs)
        metric = drawing.metric_words(logs.study["judged_metric"])
        vary = logs.study["spec"].get("vary")
        blocks = [
            self._figure(
                "trials",
                logs,
                "Every trial of the search",
                figures.trials(logs, self._labels()),
                captions.TRIALS,
                captions.TRIALS,
            ),
            self._expected(logs, metric),
            self._table(
                "levels",
                logs,
                f"Fixed values of {vary}",
                _spelled_levels(levels),
                f"Each is the {metric}. {captions.LEVELS}",
            ),
            self._figure(
                "levels_curve",
                logs,
                f"Fixed values of {vary}",
                None
                if levels.empty
                else search_figures.levels(
                    levels, name=str(vary), metric=metric, title=captions.title(logs), labels=self._labels()
                ),
                captions.LEVELS,
                "The numbers are in the table above.",
            ),
            self._contrasts(logs, "presets", search_results.preset_contrasts(logs), "What was expected of presets"),
            self._table("importance", logs, "Hyperparameters", importances, captions.IMPORTANCE),
            self._figure(
                "importance_bars",
                logs,
                "Importance of hyperparameters",
                search_figures.importance(
                    importances.rename(columns={"architecture": "label"}),
                    title=captions.title(logs),
                    labels=self._labels(),
                )
                if not importances.empty and importances["importance"].notna().any()
                else None,
                captions.IMPORTANCE,
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
        figure = curve_figures.expected_best(frame, metric=metric, title=captions.title(logs), labels=self._labels())
        return self._figure("expected", logs, "What n random trials find", figure, captions.EXPECTED, captions.EXPECTED)

    def _gaps(self) -> Section:
        blocks = [
            self._table("gap", logs, f"Val against test: {logs.study['study']}", frame, captions.gap_words(frame))
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
            found.setdefault(captions.tiles_words(logs), []).append(logs.study["study"])
        return found

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
