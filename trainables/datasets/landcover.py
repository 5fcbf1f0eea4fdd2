"""Land cover images with colour masks as a source of tiles: colours to classes, val split off by whole scenes."""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from trainables.common.errors import UserError
from trainables.data.formats.raster import read_image
from trainables.data.tiles import IGNORE, DatasetInfo, Level
from trainables.datasets.sources.draws import draw_groups
from trainables.datasets.sources.files import files_by_id
from trainables.datasets.sources.masks import read_colors
from trainables.datasets.sources.plan import (
    RGB,
    SEED,
    Adapter,
    Plan,
    SourceTile,
    Split,
    add_draw_flags,
    add_src_flag,
    check_folder,
    check_pair,
)

VAL_SHARE = 0.25
MIN_TRAIN_SHARE, MIN_VAL_SHARE = 0.5, 0.05
"""Of each class's pixels train and val should have as much: with less there is little to learn from or to score."""
UNLABELLED = "unlabelled"
"""The class that becomes ignored pixels."""

_NUM_NAMED = 4


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: int = Field(ge=0)
    color_rgb: tuple[Level, Level, Level]


class _Mapping(RootModel[dict[str, _Entry]]):
    """`label_mapping.json`: class name to its id and colour."""


@dataclass(slots=True)
class _PixelCounts:
    """Numbers of pixels over all masks.

    Attributes:
        classes: By scene and class, of train and val only.
        strays: Those in colours of no class, by tile.
        stray_colors: Those in colours of no class, by packed colour.
        num_px: All.
    """

    classes: dict[str, Counter[int]] = field(default_factory=dict)
    strays: dict[str, int] = field(default_factory=dict)
    stray_colors: Counter[int] = field(default_factory=Counter)
    num_px: int = 0


def plan_landcover(src: Path, *, val_scenes: Sequence[str] | None = None, seed: int = SEED) -> Plan:
    """Maps colours to classes and takes val from the train images by whole scenes.

    A scene is what stands before the first underscore of an image's name. Masks are decoded here, as the choice of
    scenes looks at their classes; those of the test set only for colours of no class.

    Args:
        src: Folder with `TRAIN_VAL_SET/{IMAGES,MASKS}/`, `TEST_SET/{IMAGES,MASKS}/` and `label_mapping.json`.
        val_scenes: The scenes of val; None draws them, until they have about a quarter of the images, so that for as
            many classes as can be train has at least half of the pixels and val 5 %.
        seed: Decides what is drawn.

    Raises:
        UserError: A folder, an image or a mask is missing or has another kind or size; `label_mapping.json` is not as
            published; its colours are not those of a mask; or the scenes leave train or val empty.
    """
    check_folder(src, "TRAIN_VAL_SET/, TEST_SET/ and label_mapping.json")
    colors = _read_mapping(src / "label_mapping.json")
    classes = tuple(name for name in colors if name != UNLABELLED)
    to_classes = _translation(colors)
    pairs = {name: _pairs(src / name) for name in ("TRAIN_VAL_SET", "TEST_SET")}
    counts = _count_pixels(pairs, to_classes, set(colors.values()))
    sizes = Counter(_scene(id_) for id_, *_ in pairs["TRAIN_VAL_SET"])
    if val_scenes is None:
        chosen = draw_groups(sizes, VAL_SHARE, seed, lambda val: len(_scarce(counts.classes, val)))
        how = f"drawn with seed {seed}"
    else:
        chosen, how = _check_scenes(val_scenes, sizes), "as named"
    tiles = []
    for folder, files in pairs.items():
        for id_, image, mask in files:
            split: Split = "test" if folder == "TEST_SET" else "val" if _scene(id_) in chosen else "train"
            tiles.append(_tile(split, id_, image, mask, to_classes))
    scenes = ", ".join(sorted(chosen))
    return Plan(
        tiles=tuple(tiles),
        info=DatasetInfo(
            classes=classes,
            bands=RGB,
            ignore_index=IGNORE,
            colors_rgb=tuple(colors[name] for name in classes),
            source=f"TRAIN_VAL_SET and TEST_SET of {src.resolve().name}; val is the scenes {scenes}, {how}",
        ),
        notes=(
            f"Val is {sum(sizes[scene] for scene in chosen)} of {sum(sizes.values())} images, whole scenes: {scenes}.",
            *_scarce_notes(_scarce(counts.classes, chosen), classes),
            *_stray_notes(counts),
        ),
    )


def _read_mapping(path: Path) -> dict[str, tuple[int, int, int]]:
    """Class name to colour, in the order of the ids."""
    try:
        entries = _Mapping.model_validate_json(path.read_bytes()).root
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): it must name the classes and their colours"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        example = json.dumps({"road": {"id": 2, "color_rgb": [110, 193, 228]}})
        raise UserError(f"{path}: {where or 'the file'}: {first['msg']}: mend it, it must be like {example}") from error
    for what, values in (
        ("id", [entry.id for entry in entries.values()]),
        ("colour", [entry.color_rgb for entry in entries.values()]),
    ):
        if len(set(values)) < len(values):
            raise UserError(f"{path} gives two classes one {what}: give each its own")
    if len(entries.keys() - {UNLABELLED}) < 2:
        raise UserError(f"{path} names {len(entries)} classes, but two besides {UNLABELLED} are needed: add them")
    return {name: entry.color_rgb for name, entry in sorted(entries.items(), key=lambda item: item[1].id)}


def _translation(colors: Mapping[str, tuple[int, int, int]]) -> Callable[[NDArray[np.uint32]], NDArray[np.uint8]]:
    """From (H, W) packed colours to class indices; `unlabelled` and colours of no class are ignored."""
    codes = [_packed(color) for name, color in colors.items() if name != UNLABELLED]

    def to_classes(mask: NDArray[np.uint32]) -> NDArray[np.uint8]:
        found = np.full(mask.shape, IGNORE, np.uint8)
        for index, code in enumerate(codes):
            found[mask == code] = index
        return found

    return to_classes


def _packed(color: tuple[int, int, int]) -> int:
    return color[0] << 16 | color[1] << 8 | color[2]


_Pair = tuple[str, Path, Path]  # id, image, mask


def _pairs(folder: Path) -> list[_Pair]:
    images, masks = folder / "IMAGES", folder / "MASKS"
    by_id = files_by_id(masks, ".png")
    found = []
    for id_, image in files_by_id(images, ".jpg", ".jpeg", ".png").items():
        if id_ not in by_id:
            raise UserError(f"{image} has no mask: add {masks / id_}.png or remove the image")
        check_pair(image, by_id[id_])
        found.append((id_, image, by_id[id_]))
    if not found:
        raise UserError(f"{images} holds no JPEG or PNG images: name the --src that has {folder.name}/IMAGES")
    return found


def _scene(id_: str) -> str:
    return id_.split("_", 1)[0]


def _count_pixels(
    pairs: Mapping[str, Sequence[_Pair]],
    to_classes: Callable[[NDArray[np.uint32]], NDArray[np.uint8]],
    colors: set[tuple[int, int, int]],
) -> _PixelCounts:
    """Decodes all masks once, and counts the pixels of each class and of colours of no class.

    Raises:
        UserError: A mask is damaged, or half of one or more is in colours of no class.
    """
    codes, totals = {_packed(color) for color in colors}, _PixelCounts()
    for folder, files in pairs.items():
        for id_, _, mask in files:
            values, counts = np.unique(read_colors(mask), return_counts=True)
            strays = {int(v): int(n) for v, n in zip(values, counts, strict=True) if int(v) not in codes}
            num_px, num_stray = int(counts.sum()), sum(strays.values())
            if 2 * num_stray >= num_px:
                most = max(strays, key=lambda value: strays[value])
                raise UserError(
                    f"{mask}: {num_stray / num_px:.0%} of its pixels have colours that label_mapping.json does not "
                    f"name, most of them {_as_rgb(most)}: correct the mapping or the mask"
                )
            if folder != "TEST_SET":
                by_class = zip(to_classes(values).tolist(), counts.tolist(), strict=True)
                totals.classes.setdefault(_scene(id_), Counter()).update(
                    {index: number for index, number in by_class if index != IGNORE}
                )
            if num_stray:
                totals.strays[id_] = num_stray
            totals.stray_colors.update(strays)
            totals.num_px += num_px
    return totals


def _scarce(classes: Mapping[str, Counter[int]], val: set[str]) -> dict[int, tuple[str, float]]:
    """Class to (split, share) where train or val has less of the class's pixels than it should."""
    total: Counter[int] = sum(classes.values(), Counter())
    of_val: Counter[int] = sum((count for scene, count in classes.items() if scene in val), Counter())
    scarce: dict[int, tuple[str, float]] = {}
    for index, count in sorted(total.items()):
        share = of_val[index] / count
        if share < MIN_VAL_SHARE:
            scarce[index] = "val", share
        elif 1 - share < MIN_TRAIN_SHARE:
            scarce[index] = "train", 1 - share
    return scarce


def _check_scenes(named: Sequence[str], scenes: Mapping[str, int]) -> set[str]:
    for scene in named:
        if scene not in scenes:
            raise UserError(
                f"--val-scenes {scene} is no scene of TRAIN_VAL_SET: use some of {', '.join(sorted(scenes))}"
            )
    if set(named) == set(scenes):
        raise UserError(f"--val-scenes names all {len(scenes)} scenes, but train needs some: leave some out")
    return set(named)


def _tile(
    split: Split, id_: str, image: Path, mask: Path, to_classes: Callable[[NDArray[np.uint32]], NDArray[np.uint8]]
) -> SourceTile:
    return SourceTile(
        id=id_,
        split=split,
        suffix=".png" if image.suffix.lower() == ".png" else ".jpg",
        copy_of=image,
        load_image=lambda: read_image(image),
        load_mask=lambda: to_classes(read_colors(mask)),
        group=_scene(id_),
    )


def _scarce_notes(scarce: Mapping[int, tuple[str, float]], classes: Sequence[str]) -> list[str]:
    told = [f"{split} has {share:.1%} of {classes[index]}" for index, (split, share) in scarce.items()]
    return [f"Of the pixels of train and val, {', '.join(told)}."] if told else []


def _stray_notes(counts: _PixelCounts) -> list[str]:
    if not counts.strays:
        return []
    total = sum(counts.strays.values())
    places = [f"{tile} ({count:,})" for tile, count in sorted(counts.strays.items(), key=lambda item: -item[1])]
    colors = [_as_rgb(code) for code, _ in counts.stray_colors.most_common(_NUM_NAMED)]
    more = len(counts.stray_colors) - len(colors)
    return [
        f"{total:,} pixels ({total / counts.num_px:.1%}) have colours of no class and are ignored, in "
        f"{len(places)} tiles: {', '.join(places)}. Colours: {'; '.join(colors)}{f' and {more} more' if more else ''}."
    ]


def _as_rgb(code: int) -> str:
    return f"({code >> 16}, {code >> 8 & 255}, {code & 255})"


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add_src_flag(parser, "folder with TRAIN_VAL_SET/, TEST_SET/ and label_mapping.json")
    about = "scenes of val, such as tile3 tile5 (drawn: about a quarter of the images)"
    parser.add_argument("--val-scenes", nargs="+", metavar="SCENE", help=about)
    add_draw_flags(parser)


ADAPTER = Adapter(
    about="land cover with colour masks (IMAGES/, MASKS/, label_mapping.json), val by whole scenes",
    add_flags=_add_flags,
    plan=plan_landcover,
)
