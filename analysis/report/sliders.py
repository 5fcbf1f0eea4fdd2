"""Chooses predictions by a fixed rule and puts truth and prediction one over the other."""

import io

import numpy as np
from PIL import Image

from analysis.browse import gap_px, pictured_iou
from analysis.logs.frames import Logs
from analysis.report.document import SliderBlock, SliderPair
from analysis.tables.classes import tints
from analysis.tables.scores import read_scores

_WIDTH_PX = 640
_QUALITY = 82


RULE = (
    "The tiles are chosen by a rule, not by eye: the worst, the median and the best by their mean IoU over all final "
    "models of the architectures with most tiles. Each picture is of the architecture's median model on test (the "
    "lower of two), and so is the IoU beside it."
)


def overlays(logs: Logs) -> tuple[SliderBlock, ...]:
    """Returns the worst, median and best test tile of the arms with most tiles, truth against prediction.

    The tiles are the same for all arms, of those whose pictures were logged for all; the median is the lower of two.
    Empty where no test picture was logged.
    """
    images = logs.images[logs.images["split"] == "test"]
    scores = read_scores(logs, "test")
    most = max(arm["tiles"] for arm in logs.study["arms"])
    arms = [arm for arm in logs.study["arms"] if arm["tiles"] == most and (images["arm"] == arm["arm"]).any()]
    if scores is None or not arms:
        return ()
    chosen = scores.select([arm["arm"] for arm in arms])
    shared = set.intersection(*(set(images.loc[images["arm"] == arm["arm"], "caption"]) for arm in arms))
    means = {
        tile: float(np.nanmean(chosen.iou[:, :, place]))
        for place, tile in enumerate(chosen.tiles)
        if tile in shared and np.isfinite(chosen.iou[:, :, place]).any()
    }
    ranked = sorted(means, key=lambda tile: (means[tile], tile))
    picked: dict[str, str] = {}
    for which, place in (("worst", 0), ("median", (len(ranked) - 1) // 2), ("best", len(ranked) - 1)):
        if ranked:
            picked.setdefault(ranked[place], which)
    blocks = []
    for tile, which in picked.items():
        pairs, unreadable = [], []
        for arm in arms:
            row = images[(images["arm"] == arm["arm"]) & (images["caption"] == tile)].iloc[-1]
            iou = pictured_iou(logs, arm["arm"])
            score = f"IoU {iou[tile]:.2f}" if tile in iou else "IoU unknown"
            try:
                truth, prediction = _panels(str(row["path"]), gap_px(logs))
            except OSError:  # torn, as a killed process leaves it
                unreadable.append(arm["architecture_label"])
                continue
            label = f"{arm['architecture_label']}, {score}"
            pairs.append(SliderPair(label, truth, prediction, before_label="truth", after_label="prediction"))
        caption = f"{tile} of {logs.study['study']}: mean IoU {means[tile]:.2f} over all models."
        caption += f" The picture of {', '.join(unreadable)} cannot be read." if unreadable else ""
        title = f"The {which} test tile"
        blocks.append(SliderBlock(f"predictions_{which}", title, caption, tuple(pairs), tuple(tints(logs))))
    return tuple(blocks)


def _panels(path: str, gap: int) -> tuple[bytes, bytes]:
    """The truth and the prediction of a logged picture, `gap` px apart, as JPEG files."""
    with Image.open(path) as file:
        picture = file.convert("RGB")
    width = (picture.width - 2 * gap) // 3
    panels = []
    for place in (1, 2):
        left = place * (width + gap)
        panel = picture.crop((left, 0, left + width, picture.height))
        panel.thumbnail((_WIDTH_PX, _WIDTH_PX))
        buffer = io.BytesIO()
        panel.save(buffer, format="JPEG", quality=_QUALITY)
        panels.append(buffer.getvalue())
    return panels[0], panels[1]
