"""Chooses tiles by a fixed rule, and shows their truth and the predictions of several architectures side by side."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from analysis.browse import gap_px, pictured_iou
from analysis.figures.prediction_figures import Column, side_by_side
from analysis.logs.frames import Logs
from analysis.logs.rows import SPLITS, Split
from analysis.logs.run_configs import competing
from analysis.report.document import PicturesBlock, Prediction
from analysis.report.words import counted
from analysis.tables.arm_scores import iou_by_arm
from analysis.tables.classes import constant_iou, tints
from analysis.tables.tile_scores import final_split, read_tile_scores

_LARGEST_PX = 640
_QUALITY = 82
_MOST_COLUMNS = 5
"""Architectures in the figure at a glance, the best: more would be too small to see."""

RULE = (
    "A rule chooses the tiles: the worst, the median and the best by mean IoU over the models of the architectures "
    "with most tiles. On test, that is the mean over all final models, and each picture is of the architecture's "
    "median model (the lower of two). On val, both are of the selected trial, with the IoU that the search judged it "
    "by. Classes are tinted. In the page, drag the handle of a prediction to the right to see the truth in its place."
)


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """What is known of a split: the arms whose pictures were logged, the mean IoU by tile, and each picture's own."""

    split: Split
    arms: Sequence[Mapping[str, Any]]
    images: pd.DataFrame
    mean_iou: Mapping[str, float]
    iou: Mapping[str, Mapping[str, float]]


def predictions(logs: Logs) -> tuple[PicturesBlock, ...]:
    """Returns the worst, median and best test tile and val tile of the arms with most tiles, one block each.

    The tiles are the same for all arms, of those whose pictures were logged for all; the median is the lower of two.
    Empty where no picture was logged.
    """
    return tuple(block for split in reversed(SPLITS) for block in _of_split(logs, split))


def at_a_glance(logs: Logs, blocks: Sequence[PicturesBlock]) -> Figure | None:
    """Returns a figure of the test tiles among some blocks, else of the val tiles, with the best architectures' means.

    Returns:
        None where no final model has a score, or no picture can be read.
    """
    split = final_split(logs)
    tiles = [
        block for block in blocks if block.name.startswith(f"predictions_{split}_") and block.image and block.truth
    ]
    scores = iou_by_arm(logs)
    largest = scores[scores["tiles"] == scores["tiles"].max()].sort_values("mean", ascending=False, kind="stable")
    shown = {prediction.architecture for block in tiles for prediction in block.predictions}
    columns = []
    for _, arm in largest[largest["label"].isin(shown)].head(_MOST_COLUMNS).iterrows():
        its = [next((p for p in b.predictions if p.architecture == arm["label"]), None) for b in tiles]
        columns.append(
            Column(
                label=arm["label"],
                score=f"{split} IoU {arm['mean']:.3f}",
                pictures=[None if prediction is None else prediction.picture for prediction in its],
                words=["no picture" if prediction is None else prediction.score for prediction in its],
            )
        )
    trivial = constant_iou(logs, split)
    title = (
        f"{split.capitalize()} IoU with {counted(int(largest['tiles'].iloc[0]), 'labelled tile')}" if columns else ""
    )
    title += "" if trivial is None else f"; predicting {logs.study['trivial']['class']} everywhere scores {trivial:.3f}"
    return side_by_side([(b.title, b.image, b.truth) for b in tiles if b.image and b.truth], columns, title=title)


def panels(path: str, gap: int) -> tuple[bytes, bytes, bytes]:
    """Returns image, truth and prediction of a logged picture, whose panels are `gap` px apart, as JPEG files.

    Raises:
        OSError: The file is torn, as a killed process leaves it.
    """
    with Image.open(path) as file:
        picture = file.convert("RGB")
    width = (picture.width - 2 * gap) // 3
    left = [place * (width + gap) for place in range(3)]
    image, truth, prediction = (_jpeg(picture.crop((start, 0, start + width, picture.height))) for start in left)
    return image, truth, prediction


def _jpeg(panel: Image.Image) -> bytes:
    panel.thumbnail((_LARGEST_PX, _LARGEST_PX))
    buffer = io.BytesIO()
    panel.save(buffer, format="JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _of_split(logs: Logs, split: Split) -> list[PicturesBlock]:
    images = logs.images[logs.images["split"] == split]
    most = max(arm["tiles"] for arm in logs.study["arms"])
    arms = [
        arm for arm in competing(logs.study["arms"]) if arm["tiles"] == most and (images["arm"] == arm["arm"]).any()
    ]
    iou = {arm["arm"]: pictured_iou(logs, arm["arm"]) if split == "test" else _selected_iou(logs, arm) for arm in arms}
    means = _mean_test_iou(logs, list(iou)) if split == "test" else _means(iou)
    shown = _Shown(split=split, arms=arms, images=images, mean_iou=means, iou=iou)
    return [_block(logs, shown, tile, which) for tile, which in _choose(shown).items()]


def _choose(shown: _Shown) -> dict[str, str]:
    """The tiles that are shown, each with what it is by the rule."""
    captions = [set(shown.images.loc[shown.images["arm"] == arm["arm"], "caption"]) for arm in shown.arms]
    shared = set.intersection(*captions) if captions else set()
    ranked = sorted((iou, tile) for tile, iou in shown.mean_iou.items() if tile in shared)
    chosen: dict[str, str] = {}
    for which, place in (("worst", 0), ("median", (len(ranked) - 1) // 2), ("best", len(ranked) - 1)):
        if ranked:
            chosen.setdefault(ranked[place][1], which)
    return chosen


def _block(logs: Logs, shown: _Shown, tile: str, which: str) -> PicturesBlock:
    common: tuple[bytes, bytes] | None = None
    found, unreadable = [], []
    for arm in shown.arms:
        is_its = (shown.images["arm"] == arm["arm"]) & (shown.images["caption"] == tile)
        iou = shown.iou[arm["arm"]].get(tile)
        try:
            image, truth, prediction = panels(str(shown.images.loc[is_its, "path"].iloc[-1]), gap_px(logs))
        except OSError:
            unreadable.append(arm["architecture_label"])
            continue
        common = common or (image, truth)
        score = "IoU unknown" if iou is None else f"IoU {iou:.2f}"
        found.append(Prediction(arm["architecture_label"], score, prediction))
    caption = f"{tile} of {logs.study['study']}: mean IoU {shown.mean_iou[tile]:.2f}."
    caption += f" The picture of {', '.join(unreadable)} cannot be read." if unreadable else ""
    return PicturesBlock(
        name=f"predictions_{shown.split}_{which}",
        title=f"The {which} {shown.split} tile",
        caption=caption,
        image=common[0] if common else None,
        truth=common[1] if common else None,
        predictions=tuple(found),
        legend=tuple(tints(logs)),
    )


def _mean_test_iou(logs: Logs, arms: list[str]) -> dict[str, float]:
    """The mean IoU of each test tile over all final models of some arms."""
    scores = read_tile_scores(logs, "test")
    if scores is None:
        return {}
    iou = scores.select(arms).iou
    known = {tile: iou[:, :, place] for place, tile in enumerate(scores.tiles)}
    return {tile: float(np.nanmean(its)) for tile, its in known.items() if np.isfinite(its).any()}


def _selected_iou(logs: Logs, arm: Mapping[str, Any]) -> dict[str, float]:
    """The IoU by val tile of the trial that tuning selected, in its best epoch, on the pixels that it was judged on."""
    selection = logs.selection[logs.selection["arm"] == arm["arm"]]
    prefix = f"{logs.study['judged_metric']}/"
    if selection.empty or logs.history.empty:
        return {}
    best = selection.iloc[0]
    is_its = (logs.history["run_arm"] == arm["arm"]) & (logs.history["number"] == best["number"])
    epochs = logs.history[is_its & (logs.history["epoch"] == best["best_epoch"])]
    columns = [column for column in epochs.columns if column.startswith(prefix)]
    known = epochs[columns].iloc[-1].dropna() if len(epochs) else {}
    return {str(column).removeprefix(prefix): float(iou) for column, iou in known.items()}


def _means(iou: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The mean by tile over the arms that have one."""
    tiles = dict.fromkeys(tile for its in iou.values() for tile in its)
    return {tile: float(np.mean([its[tile] for its in iou.values() if tile in its])) for tile in tiles}
