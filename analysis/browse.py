"""Writes a page that shows image, truth and prediction of any tile of any trial: `tiles.html` beside the report.

The pictures are those that the trials logged to W&B; the page refers to them where they lie, so it is small, and needs
the studies' folders.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup
from PIL import Image

from analysis.logs.frames import Logs
from analysis.logs.rows import OVERLAYS, pictures
from analysis.logs.wandb_run import read_run
from analysis.report.web_page import render_page
from analysis.tables.classes import tints
from analysis.tables.labels import budget_unit

NAME = "tiles.html"
_OLD_GAP_PX = 8
"""Of pictures whose study's logs do not say."""


def gap_px(logs: Logs) -> int:
    """Columns between the three panels of a logged picture: image, truth over it, prediction over it."""
    return int(logs.study.get("panel_gap_px", _OLD_GAP_PX))


def tiles_page(studies: Sequence[tuple[Path, Logs]], to: Path) -> str | None:
    """Returns the page, or None where no trial logged a picture.

    Args:
        studies: The folder of each study and what was read of it.
        to: The folder that the page will lie in; pictures are named relative to it.
    """
    data = {
        "legend": [list(pair) for pair in dict.fromkeys(pair for _, logs in studies for pair in tints(logs))],
        "trials": [trial for folder, logs in studies for trial in _trials(folder, logs, to)],
    }
    if not data["trials"]:
        return None
    content = json.dumps(data, allow_nan=False).replace("<", "\\u003c")  # nothing in it can end the script
    return render_page("tiles.html.j2", "tiles.js", picture_sources="'self' file: data:", data=Markup(content))


def _trials(folder: Path, logs: Logs, to: Path) -> Iterator[dict[str, Any]]:
    """Every trial with pictures, as the page takes it: the arms in their order, of each the best trials first."""
    names = {
        arm["arm"]: f"{arm['architecture_label']}, {arm['tiles']} {budget_unit(logs.study)}"
        for arm in logs.study["arms"]
    }
    paths = {path.stem: path for path in folder.glob("wandb/*/*.wandb")}
    for arm, title in names.items():
        about = {"study": logs.study["study"], "arm": title, "gap": gap_px(logs)}
        if tested := _tested(logs, arm, to):
            yield about | {"trial": "final model (median of the seeds), test tiles", "tiles": tested}
        its = logs.runs[(logs.runs["arm"] == arm) & logs.runs["run"].notna()]
        for row in its.sort_values(["stage", "judged"], ascending=False, kind="stable").to_dict("records"):
            path = paths.get(str(row["run"]))
            if path is not None and (tiles := _pictures(path, logs.study["judged_metric"], to)):
                kind = "final model" if row["stage"] == "final" and (its["stage"] == "search").any() else "trial"
                best = "" if row["judged"] != row["judged"] else f", best val IoU {row['judged']:.3f}"
                yield about | {"trial": f"{kind} {row['number']}: {row['state']}{best}", "tiles": tiles}


def _tested(logs: Logs, arm: str, to: Path) -> list[dict[str, Any]]:
    """Pictures of the test tiles, which are of the arm's median model, each with what that model scored there."""
    images = logs.images[(logs.images["arm"] == arm) & (logs.images["split"] == "test")]
    if images.empty or logs.models.loc[logs.models["arm"] == arm, "test_iou"].isna().all():
        return []
    iou = pictured_iou(logs, arm)
    found = []
    for caption, path in zip(images["caption"], images["path"], strict=True):
        words = f"test IoU {iou[caption]:.3f}" if caption in iou else ""
        found.append(_tile(Path(path), caption, words, to))
    return [tile for tile in found if tile is not None]


def pictured_iou(logs: Logs, arm: str) -> dict[str, float]:
    """The IoU by test tile of the model that an arm's pictures are of: its median on test, the lower of two."""
    models = logs.models[(logs.models["arm"] == arm) & logs.models["test_iou"].notna()]
    if models.empty:
        return {}
    number = models.sort_values("test_iou", kind="stable")["number"].iloc[(len(models) - 1) // 2]
    of_it = (logs.scores["arm"] == arm) & (logs.scores["number"] == number) & (logs.scores["split"] == "test")
    known = logs.scores[of_it].dropna(subset="iou")
    return dict(zip(known["tile"], known["iou"], strict=True))


def _pictures(path: Path, metric: str, to: Path) -> list[dict[str, Any]]:
    """The last pictures that the run of a W&B file logged, each with the IoU of its tile in that epoch."""
    if not (path.parent / "files" / "media").is_dir():
        return []
    logged = read_run(path, [])
    shown: dict[str, Any] = {}
    epoch: dict[str, Any] = {}
    last: dict[str, Any] = {}
    for row in logged.rows if logged is not None else ():
        if "epoch" in row:
            last = row
        if OVERLAYS in row:
            shown, epoch = row[OVERLAYS], last
    found = []
    for name, caption in pictures(shown):
        words = f"epoch {epoch['epoch']:.0f}" if epoch else ""
        words += f", val IoU {epoch[key]:.3f}" if (key := f"{metric}/{caption}") in epoch else ""
        found.append(_tile(path.parent / "files" / name, caption, words, to))
    return [tile for tile in found if tile is not None]


def _tile(path: Path, caption: str, words: str, to: Path) -> dict[str, Any] | None:
    """A picture as the page takes it; None where it is gone or torn."""
    try:
        with Image.open(path) as picture:
            width, height = picture.size
    except OSError:
        return None
    relative = Path(os.path.relpath(path.resolve(), to.resolve())).as_posix()
    address = f"./{quote(relative)}"  # ./, or a colon in it would look like a scheme
    return {"tile": caption, "words": words, "path": address, "width": width, "height": height}
