"""Makes the folder of Inria tiles: one crop per source image, which a person may nudge.

`crops.csv` in the folder says where each crop lies and remembers the nudges; `overview.png` shows all crops.
"""

import argparse
import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageChops, ImageFilter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from trainables.common.errors import UserError
from trainables.common.progress_bar import Track, no_track, progress_bar
from trainables.common.whole_files import write_whole
from trainables.data.dataset import read_dataset
from trainables.datasets.inria import INFO, MIN_PERCENT, SPLITS, Crop, find_sources, place_crop
from trainables.datasets.overview import GREY, RED, Cell, draw_sheet
from trainables.datasets.sources.files import is_clutter
from trainables.datasets.sources.plan import add_src_flag

ABOUT = "Inria Aerial Image Labeling, Austin: 36 crops of 1024×1024 px"
SIDE_PX = 1024
JPEG_QUALITY = 90

_CELL_PX = 256
_YELLOW = (255, 225, 0)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this data set; `--dst` is every data set's."""
    add_src_flag(parser, "folder with imgs/ and msks/ or images/ and gt/, or the unpacked archive")
    nudge = "moves a crop DX px right and DY px down from its automatic place; remembered, and undone by 0,0"
    parser.add_argument("--nudge", nargs="+", action="extend", default=[], metavar="TILE=DX,DY", help=nudge)


def run(flags: argparse.Namespace, console: Console) -> None:
    """Makes the folder that the flags name and says what to look at.

    Raises:
        UserError: As `prepare_inria`, or a nudge is none.
    """
    nudges = _read_nudges(flags.nudge)
    with progress_bar(console) as track:
        crops = prepare_inria(flags.src, flags.dst, nudges=nudges, side_px=SIDE_PX, track=track)
    _show(crops, flags.dst, nudges, console)


def prepare_inria(
    src: Path,
    dst: Path,
    *,
    nudges: Mapping[str, tuple[int, int]] | None = None,
    side_px: int = SIDE_PX,
    track: Track = no_track,
) -> tuple[Crop, ...]:
    """Cuts one crop from each of the 36 tiles of Austin and writes the folder of tiles.

    What is finished is kept without a look at its source, so a run that was killed is simply started again.

    Args:
        src: Folder with `imgs/` and `msks/` or with `images/` and `gt/`, or the unpacked archive.
        dst: Folder to make or to finish.
        nudges: Tile id to (right, down) in pixels from the automatic place; the others keep theirs from `crops.csv`.
        side_px: Side of the crops in pixels.
        track: Is given the tile ids of a step and its name, and yields the ids; for a progress bar.

    Returns:
        The crops of all tiles, in the order of their numbers.

    Raises:
        UserError: `dst` holds something else or cannot be written; a source is missing, unreadable, too small or of
            another kind; a nudge leaves its source; or all crops of a split are without building, or full of it.
    """
    crops = _read_crops(dst)
    wanted = dict.fromkeys(SPLITS, (0, 0)) | {tile: crop.nudge for tile, crop in crops.items()} | dict(nudges or {})
    to_make = [tile for tile in SPLITS if not _is_made(dst, crops.get(tile), wanted[tile])]
    sources = find_sources(src, to_make, side_px) if to_make else {}
    # All places come before the first crop: a wrong mask or nudge is told while nothing is written.
    placed = {tile: place_crop(tile, sources[tile], wanted[tile], side_px) for tile in track(to_make, "placing")}
    if to_make:
        _check_coverage(crops | placed)
    try:
        for tile in track(to_make, "cutting"):
            window = (placed[tile].top_px, placed[tile].left_px, side_px, side_px)
            pixels = sources[tile].read_image(*window), sources[tile].read_mask(*window)
            # Old files go before the row changes, and new ones come after it: a run killed in between leaves a tile
            # that lacks a file and is made again, never the pixels of one place under the row of another.
            for path in _files(dst, tile):
                path.unlink(missing_ok=True)
            crops[tile] = placed[tile]
            _write_crops(dst, crops)
            for path, array in zip(_files(dst, tile), pixels, strict=True):
                _write_image(path, Image.fromarray(array))
        ordered = tuple(crops[tile] for tile in SPLITS)
        _write_crops(dst, crops)
        write_whole(dst / "dataset.json", (json.dumps(INFO, indent=1) + "\n").encode())
        _write_image(dst / "overview.png", _overview(dst, ordered))
        read_dataset(dst)  # what a study does first
    except OSError as error:
        raise UserError(
            f"--dst {dst} cannot be written ({error.strerror}): name a folder on a disk with room"
        ) from error
    return ordered


def _check_coverage(crops: Mapping[str, Crop]) -> None:
    for split in dict.fromkeys(SPLITS.values()):
        shares = {crop.coverage for crop in crops.values() if crop.split == split}
        if shares in ({0.0}, {1.0}):
            all_are = "without building" if shares == {0.0} else "building throughout"
            raise UserError(f"all {split} crops are {all_are}, but a split needs both: check the masks of --src")


def _files(dst: Path, tile: str) -> tuple[Path, Path]:
    """Where a tile's image and mask go."""
    return dst / SPLITS[tile] / "images" / f"{tile}.jpg", dst / SPLITS[tile] / "masks" / f"{tile}.png"


def _is_made(dst: Path, crop: Crop | None, nudge: tuple[int, int]) -> bool:
    return crop is not None and crop.nudge == nudge and all(path.is_file() for path in _files(dst, crop.id))


def _write_image(path: Path, image: Image.Image) -> None:
    content = io.BytesIO()
    image.save(content, Image.registered_extensions()[path.suffix], quality=JPEG_QUALITY)  # PNG knows no quality
    write_whole(path, content.getvalue())


def _write_crops(dst: Path, crops: Mapping[str, Crop]) -> None:
    lines = [",".join(Crop.model_fields)]
    for tile in SPLITS:
        if tile in crops:
            values = crops[tile].model_dump().values()
            lines.append(",".join(f"{value:.4f}" if isinstance(value, float) else str(value) for value in values))
    write_whole(dst / "crops.csv", ("\n".join(lines) + "\n").encode())


def _read_crops(dst: Path) -> dict[str, Crop]:
    """The rows of `crops.csv`; none where the folder is new.

    Raises:
        UserError: The folder holds something else.
    """
    path = dst / "crops.csv"
    if not path.is_file():
        if dst.exists() and not (dst.is_dir() and all(is_clutter(found) for found in dst.iterdir())):
            raise UserError(f"--dst {dst} exists and was not made by this command (no crops.csv): name another folder")
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file)
        found = [Crop.model_validate(dict(zip(header, line, strict=True))) for line in lines if line]
        crops = {crop.id: crop for crop in found}
        if header != list(Crop.model_fields) or not crops.keys() <= SPLITS.keys():
            raise ValueError("another table")
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is not as this command writes it: mend it or name another --dst") from error
    tiles = {path for tile in SPLITS for path in _files(dst, tile)}
    there = {path for folder in {path.parent for path in tiles} for path in folder.glob("*") if not is_clutter(path)}
    if others := there - tiles:
        raise UserError(f"{min(others)} is no tile of this command's: move it away or name another --dst")
    return crops


def _overview(dst: Path, crops: Sequence[Crop]) -> Image.Image:
    """All crops in a grid, buildings outlined, each with what `crops.csv` says of it."""
    cells = [
        Cell(
            title=crop.id,
            split=crop.split,
            note=f"{crop.coverage:.1%} building",
            note_color=RED if _is_low(crop) else GREY,
            remark=_note(crop),
            picture=_thumbnail(*_files(dst, crop.id)),
        )
        for crop in crops
    ]
    return draw_sheet(cells, per_row=6)


def _thumbnail(image_path: Path, mask_path: Path) -> Image.Image:
    size, twice = (_CELL_PX, _CELL_PX), (2 * _CELL_PX, 2 * _CELL_PX)
    try:
        photo = Image.open(image_path).resize(size, Image.Resampling.LANCZOS)
        share = Image.open(mask_path).resize(twice, Image.Resampling.BOX)
    except (OSError, SyntaxError) as error:
        raise UserError(f"{image_path} or its mask is damaged: remove both and run again") from error
    building = share.point([0] * 128 + [255] * 128)
    # Two pixels just outside, at twice the size: a smooth line of one pixel that hides nothing of a roof.
    line = ImageChops.subtract(building.filter(ImageFilter.MaxFilter(5)), building)
    tint = building.point([0] * 255 + [45])
    photo.paste(_YELLOW, mask=ImageChops.lighter(line, tint).resize(size, Image.Resampling.BOX))
    return photo


def _note(crop: Crop) -> str:
    """How a crop came to lie where it lies, in few words; empty in the centre."""
    if crop.placed == "nudged":
        return f"nudged {crop.nudge_right_px:+d},{crop.nudge_down_px:+d}"
    distance_px = math.hypot(crop.moved_right_px, crop.moved_down_px)
    slid = f"slid {distance_px:.0f} px" if distance_px else "not moved"
    return {"center": "", "slid": slid, "best": f"best, {slid}"}[crop.placed]


def _is_low(crop: Crop) -> bool:
    return crop.placed == "best" or 100 * crop.coverage < MIN_PERCENT


def _show(crops: Sequence[Crop], dst: Path, nudges: Mapping[str, tuple[int, int]], console: Console) -> None:
    """Says what moved, what to look at, and where everything lies."""
    table = Table(box=SIMPLE_HEAD, title="building in the crops that moved", title_justify="left")
    for name in ("tile", "split", "centre", "now", "right", "down", "why"):
        table.add_column(name, justify="left" if name in ("tile", "split", "why") else "right")
    for crop in (crop for crop in crops if crop.placed != "center"):
        moved = f"{crop.moved_right_px:+d}", f"{crop.moved_down_px:+d}"
        shares = f"{crop.coverage_center:.1%}", f"{crop.coverage:.1%}"
        table.add_row(crop.id, crop.split, *shares, *moved, _note(crop) + (" (low)" if _is_low(crop) else ""))
    console.print(table if table.row_count else "none moved: every crop lies in the centre of its source")
    for crop in crops:
        if crop.nudge != (0, 0) and crop.id not in nudges:
            console.print(f"{crop.id} keeps its nudge from crops.csv; --nudge {crop.id}=0,0 undoes it")
        if _is_low(crop):
            why = "no place has enough" if crop.placed == "best" else "nudge it elsewhere"
            console.print(f"warning: {crop.id} has {crop.coverage:.1%} building, less than {MIN_PERCENT} %: {why}")
    least = min(crops, key=lambda crop: crop.coverage)
    console.print(f"least building: {least.coverage:.1%}, in {least.id}\n")
    for name, path in (("tiles", dst), ("places", dst / "crops.csv"), ("overview", dst / "overview.png")):
        console.print(f"{name:8} {path}", soft_wrap=True)
    console.print("Look at it; --nudge austin17=+120,-40 moves a crop 120 px right and 40 px up.")


def _read_nudges(texts: Sequence[str]) -> dict[str, tuple[int, int]]:
    nudges: dict[str, tuple[int, int]] = {}
    for text in texts:
        match = re.fullmatch("([^=]+)=([+-]?[0-9]{1,6}),([+-]?[0-9]{1,6})", text)
        if match is None:
            raise UserError(f"--nudge {text} is no nudge: write TILE=DX,DY in pixels, such as austin17=+120,-40")
        tile, right, down = match.groups()
        if tile not in SPLITS:
            raise UserError(f"--nudge {text} names no tile: use austin1 to austin{len(SPLITS)}")
        if tile in nudges:
            raise UserError(f"--nudge {text} is the second for {tile}: give one")
        nudges[tile] = int(right), int(down)
    return nudges
