"""Which files of a folder are tiles: the names of folders, ids, images with their masks, and what is left out.

Usual other names are accepted: `valid/` for `val/`, `labels/` for `masks/`, `a_mask.png` for the mask of `a`. Where a
file is missing, the error names the file of the nearest name and the command that renames it.
"""

import difflib
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trainables.common.errors import UserError
from trainables.common.splits import TEST, further_split, set_name
from trainables.data.formats.raster import SUFFIXES

SPLIT_NAMES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
KIND_NAMES = {"images": ("images", "image", "img"), "masks": ("masks", "mask", "labels", "label", "gt")}

_MASK_ENDING = re.compile(r"[_-](masks?|labels?|gt|seg|segmentation)$", re.IGNORECASE)
_CONVERTIBLE = (".webp", ".bmp", ".gif", ".jp2", ".j2k", ".ppm", ".pgm", ".pnm", ".img", ".vrt")
"""Formats that rasterio's own `rio convert` reads."""
_PICTURES = (
    *_CONVERTIBLE,
    *(".jfif", ".jpe", ".jpx", ".j2c", ".jxl", ".heic", ".heif", ".avif", ".tga", ".dng", ".exr", ".psd", ".svg"),
    *(".ecw", ".sid", ".nc", ".h5", ".hdf", ".hdf5", ".npy", ".npz", ".mat", ".pkl", ".pt"),
)
"""Endings of other files that hold pixels, which a person may take for tiles."""
_SIDE_FILES = (".xml", ".tfw", ".tifw", ".jgw", ".jpgw", ".pgw", ".pngw", ".wld", ".ovr", ".prj", ".db", ".ini")
"""Endings of files that programs put beside images for themselves."""
_SIDE_NAMES = ("thumbs.db", "desktop.ini")
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Pair:
    """A tile by its files.

    Attributes:
        id: The image's name without its ending, in Unicode's composed form (macOS writes names decomposed).
        image: Its image.
        mask: Its mask.
    """

    id: str
    image: Path
    mask: Path


@dataclass(frozen=True, slots=True)
class SplitFiles:
    """What a split's folder holds: the tiles, sorted by id, and other things that are not read."""

    pairs: tuple[Pair, ...] = ()
    left_out: tuple[Path, ...] = ()


def named(things: Iterable[object], most: int = _MOST_NAMED) -> str:
    """Names the first few and counts the rest: "a, b, c and 4 more"."""
    names = [str(thing) for thing in things]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def further_splits(root: Path) -> tuple[str, ...]:
    """The further test sets of a folder of tiles, `test-<name>`, in ascending order.

    Raises:
        UserError: The name of a test set has other characters than letters, digits and dashes.
    """
    found = sorted(path.name for path in root.iterdir() if path.is_dir() and path.name.lower().startswith(f"{TEST}-"))
    splits = []
    for folder in found:
        if (name := set_name(folder)) is None:
            tidy = re.sub(r"[^A-Za-z0-9-]+", "-", folder).strip("-")
            raise UserError(
                f"{root / folder} is called {folder!r}, but the name of a further test set is letters, digits and "
                f"dashes: {_move(root / folder, root / tidy)}"
            )
        splits.append(further_split(name))
    return tuple(dict.fromkeys(splits))


def split_files(root: Path, split: str) -> SplitFiles:
    """The tiles of a split by names; nothing is opened, and there are none where there is no such folder.

    Raises:
        UserError: Two folders could be the split, its images or its masks; an image or a mask lacks the other or has
            two; two share an id; or there are files in a format that is not read.
    """
    folder = _find(root, SPLIT_NAMES.get(split, (split.lower(),)))
    if folder is None:
        return SplitFiles()
    loose = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and path.is_file()]
    found: dict[str, dict[str, Path]] = {}
    left_out = [path for path in loose if not path.name.startswith(".")]
    folders = {kind: _find(folder, names) or folder / kind for kind, names in KIND_NAMES.items()}
    for kind, place in folders.items():
        found[kind], others = _files_by_id(place, kind)
        left_out += others
    return SplitFiles(_pairs(found["images"], found["masks"], folders), tuple(left_out))


def no_tiles_hint(root: Path, split: str) -> str:
    """The command that renames a folder to a missing split; empty where no folder has nearly its name."""
    if _find(root, SPLIT_NAMES[split]) is not None:
        return ""
    folders = {path.name.lower(): path for path in root.iterdir() if path.is_dir()}
    near = difflib.get_close_matches(split, folders, 1)
    return f" (if {folders[near[0]].name} is {split}: {_move(folders[near[0]], root / split)})" if near else ""


def groups_by_id(groups: Mapping[str, str], ids: Iterable[str], path: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """The `groups` of a dataset.json by tile id, whether it names tiles by id, file name or mask; and notes on them.

    Raises:
        UserError: No name is a tile's, or two names of one tile have different places.
    """
    known = set(ids)
    found: dict[str, str] = {}
    unknown = []
    for name, place in groups.items():
        tile = next((id_ for id_ in _possible_ids(name) if id_ in known), None)
        if tile is None:
            unknown.append(name)
        elif found.setdefault(tile, place) != place:
            raise UserError(f"{path}: groups puts tile {tile} in {found[tile]} and in {place}: name it once")
    if unknown and not found:
        raise UserError(
            f"{path}: groups names {named(unknown)}, but the tiles are {named(sorted(known))}: name tiles by their "
            "file names"
        )
    notes = (f"groups in {path.name} names what is no tile: {named(unknown)}",) if unknown else ()
    return found, notes


def _possible_ids(name: str) -> list[str]:
    """The tile ids that a name may stand for, likeliest first."""
    last = _id(name.replace("\\", "/").rpartition("/")[2])
    stem = last[: -len(suffix)] if (suffix := Path(last).suffix) and suffix.lower() in SUFFIXES else last
    return [_id(name), last, stem, _MASK_ENDING.sub("", stem)]


def _id(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _find(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The subfolder with one of these names, in upper or lower case; of several, those that hold images count."""
    if not folder.is_dir():
        return None
    found = [path for path in sorted(folder.iterdir()) if path.name.lower() in names and path.is_dir()]
    if len(found) > 1:
        found = [path for path in found if _holds_images(path)] or found[:1]
    if len(found) > 1:
        both = " and ".join(f"{path.name}/" for path in found)
        raise UserError(f"{folder} has both {both}, which mean the same: keep one of them")
    return found[0] if found else None


def _holds_images(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES and not path.name.startswith(".") for path in folder.rglob("*"))


def _files_by_id(folder: Path, kind: str) -> tuple[dict[str, Path], list[Path]]:
    """The images or masks of a folder by id, and what else there is."""
    files: dict[str, Path] = {}
    pictures: list[Path] = []
    others: list[Path] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        suffix = path.suffix.lower()
        if path.name.startswith(".") or path.name.lower() in _SIDE_NAMES or suffix in _SIDE_FILES:
            continue
        if path.is_dir() or suffix not in SUFFIXES:
            (pictures if suffix in _PICTURES and not path.is_dir() else others).append(path)
            continue
        tile = _id(path.stem)
        if tile in files:
            raise UserError(f"{path} and {files[tile].name} share the id {tile}: keep one of them")
        files[tile] = path
    if missed := [path for path in pictures if _id(path.stem) not in files]:
        raise _unreadable(missed, kind)
    return files, pictures + others


def _unreadable(files: list[Path], kind: str) -> UserError:
    first = files[0]
    suffix = ".png" if kind == "masks" else ".tif"
    can = first.suffix.lower() in _CONVERTIBLE
    command = f" (rio convert {shlex.quote(str(first))} {shlex.quote(str(first.with_suffix(suffix)))})" if can else ""
    them = "it" if len(files) == 1 else "them"
    return UserError(
        f"{first.parent} holds {named(path.name for path in files)}, but tiles are read from {', '.join(SUFFIXES)} "
        f"only: store {them} as PNG or TIFF{command} and move {them} elsewhere"
    )


def _pairs(images: dict[str, Path], masks: dict[str, Path], folders: dict[str, Path]) -> tuple[Pair, ...]:
    """Each image with its mask, which has its id or its id with an ending such as `_mask`."""
    taken = {tile: mask for tile, mask in masks.items() if tile in images}
    unknown: dict[str, Path] = {}
    for name, mask in masks.items():
        tile = _MASK_ENDING.sub("", name)
        if name in taken:
            continue
        if tile not in images:
            unknown[name] = mask
        elif tile in taken:
            raise UserError(f"{mask} and {taken[tile].name} could both be the mask of {tile}: keep one of them")
        else:
            taken[tile] = mask
    missing = {tile: image for tile, image in images.items() if tile not in taken}
    for tile, image in missing.items():
        wanted = folders["masks"] / tile
        raise UserError(f"{image} has no mask: add {wanted}.png or remove the image{_nearest(tile, unknown, wanted)}")
    for name, mask in unknown.items():
        raise UserError(f"{mask} has no image: add {folders['images'] / name}.jpg or remove the mask")
    return tuple(Pair(tile, images[tile], taken[tile]) for tile in sorted(images))


def _nearest(tile: str, unknown: dict[str, Path], wanted: Path) -> str:
    """The command that renames the file of the nearest name; empty where no name is near."""
    by_name = {name.lower(): path for name, path in unknown.items()}
    near = difflib.get_close_matches(tile.lower(), by_name, 1)
    if not near:
        return ""
    path = by_name[near[0]]
    renamed = wanted.with_name(wanted.name + path.suffix)
    return f" (if {path.name}, which has no image, is its mask: {_move(path, renamed)})"


def _move(source: Path, target: Path) -> str:
    return f"mv {shlex.quote(str(source))} {shlex.quote(str(target))}"
