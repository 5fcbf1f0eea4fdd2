"""Tiles on disk, checked by their names and headers: nothing here decodes a pixel.

The layout of record is `<root>/{train,val,test}/{images,masks}/<id>.{jpg,png,tif}` with an optional
`<root>/dataset.json`; `folder` says which other names are taken. Further test sets lie in `<root>/test-<name>`. Train
and val are `OpenFiles`, which `decode` takes; each test set is a `SealedFiles`, which only `trainables.data.sealed`
decodes, and only the seal may import that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from trainables.common.command import did_you_mean
from trainables.common.errors import UserError
from trainables.common.splits import TEST
from trainables.data.formats.mask import MOST_BANDS
from trainables.data.formats.raster import SUFFIXES, read_header
from trainables.data.layout.dataset_json import complete, read_info, without_opacity
from trainables.data.layout.folder import Pair, further_splits, groups_by_id, named, no_tiles_hint, split_files
from trainables.data.layout.georeference import check_same_place, overlaps
from trainables.data.tiles import DatasetInfo


@dataclass(frozen=True, slots=True)
class TileFile:
    """One tile's two files and what their headers say."""

    id: str
    image: Path
    mask: Path
    height_px: int
    width_px: int


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """The tiles of a split that tuning may decode."""

    split: Literal["train", "val"]
    tiles: tuple[TileFile, ...]


@dataclass(frozen=True, slots=True)
class SealedFiles:
    """The tiles of a test set: known by name and header, with nothing in tuning that decodes them.

    Attributes:
        tiles: Its tiles.
        split: "test", or "test-<name>".
    """

    tiles: tuple[TileFile, ...]
    split: str = TEST


@dataclass(frozen=True, slots=True)
class Dataset:
    """A checked folder of tiles, nothing decoded yet.

    Attributes:
        root: The folder.
        info: What is known of it; `bands` are those that were chosen.
        dtype: Of the images.
        num_bands: How many bands are taken of a file (see `raster.Header.bands_named`), before some are chosen.
        places: Which bands of the files these are, from 0.
        train: Tiles that tuning learns from.
        val: Tiles that tuning judges by.
        test: Tiles that stay sealed, and that decide.
        further: More test sets, of another city or sensor, by name; each stays sealed by itself.
        notes: What the reader should know of how the folder was read, a sentence each.
        overlaps: A sentence on tiles of different splits that cover the same ground, if there are any.
    """

    root: Path
    info: DatasetInfo
    dtype: str
    num_bands: int
    places: tuple[int, ...]
    train: OpenFiles
    val: OpenFiles
    test: SealedFiles
    further: tuple[SealedFiles, ...] = ()
    notes: tuple[str, ...] = ()
    overlaps: tuple[str, ...] = ()

    @property
    def test_sets(self) -> tuple[SealedFiles, ...]:
        """All that stays sealed: `test` first."""
        return (self.test, *self.further)


def read_dataset(root: Path, bands: Sequence[str] | None = None) -> Dataset:
    """Checks a folder of tiles by names and headers, decoding nothing.

    Args:
        root: The folder.
        bands: Which bands to take, in this order, by name or by number (from 1, as GDAL counts); all if None.

    Raises:
        UserError: The folder, a split, a mask or an image is missing, or could be one of two; sizes, bands, dtypes or
            georeferences differ, also in a further test set; a file has no readable header, or is in a format that is
            not read; or `dataset.json` is not what `DatasetInfo` allows.
    """
    if not root.is_dir():
        raise UserError(
            f"{root} is no folder, but --data needs one with train/, val/ and test/: check the path{did_you_mean(root)}"
        )
    further = further_splits(root)
    splits = {split: split_files(root, split) for split in ("train", "val", TEST, *further)}
    for split in ("train", "val"):
        if not splits[split].pairs:
            raise UserError(
                f"{root / split / 'images'} holds no tiles, but a study needs train and val tiles: "
                f"put images ({', '.join(SUFFIXES)}) there and their masks in {split}/masks, or make a folder of a "
                f"published data set by python -m trainables.prepare{no_tiles_hint(root, split)}"
            )
    first_image = splits["train"].pairs[0].image
    info = without_opacity(read_info(root), first_image)
    headers = [_check_pair(pair, len(info.bands)) for files in splits.values() for pair in files.pairs]
    first, (num_bands, dtype) = headers[0]
    for tile, image_type in headers:
        if image_type != (num_bands, dtype):
            raise UserError(
                f"{tile.image} has {image_type[0]} bands of {image_type[1]}, but {first.image} has {num_bands} of "
                f"{dtype}: all images must have the same bands and type"
            )
    tiles = [tile for tile, _ in headers]
    in_order = iter(tiles)
    by_split = {split: tuple(islice(in_order, len(files.pairs))) for split, files in splits.items()}
    seen: dict[str, TileFile] = {}
    for tile in tiles:
        if tile.id in seen:
            raise UserError(f"{tile.image} and {seen[tile.id].image} share the id {tile.id}: rename one of them")
        seen[tile.id] = tile
    on_ground = {
        split: [(pair.id, check_same_place(pair.image, pair.mask)) for pair in files.pairs]
        for split, files in splits.items()
    }
    info = complete(info, num_bands, dtype, root)
    groups, group_notes = groups_by_id(info.groups, seen, root / "dataset.json")
    places = _places(bands, info.bands)
    left_out = [path.relative_to(root) for files in splits.values() for path in files.left_out]
    return Dataset(
        root=root,
        info=info.model_copy(update={"bands": tuple(info.bands[place] for place in places), "groups": groups}),
        dtype=dtype,
        num_bands=num_bands,
        places=places,
        train=OpenFiles("train", by_split["train"]),
        val=OpenFiles("val", by_split["val"]),
        test=SealedFiles(by_split[TEST]),
        further=tuple(SealedFiles(by_split[split], split) for split in further),
        notes=(
            *((f"not read, since no tiles: {named(left_out)}",) if left_out else ()),
            *group_notes,
            *_band_notes(first_image, num_bands),
        ),
        overlaps=overlaps(on_ground),
    )


def _band_notes(image: Path, num_bands: int) -> tuple[str, ...]:
    """A note on images that are not taken as they are stored: palettes and opacity."""
    stored = read_header(image).stored
    if stored < num_bands:
        return ("the images have a palette: they are read as RGB",)
    if stored > num_bands:
        return ("the images have opacity (alpha): it is left out, and pixels where it is 0 count as no data",)
    return ()


def _places(bands: Sequence[str] | None, known: tuple[str, ...]) -> tuple[int, ...]:
    """The places of the chosen bands among those of the files, from 0."""
    if bands is None:
        return tuple(range(len(known)))
    numbers = {str(number): place for place, number in enumerate(range(1, len(known) + 1))}
    by_name = numbers | {band.lower(): place for place, band in enumerate(known)}
    for band in bands:
        if band.lower() not in by_name:
            raise UserError(
                f"--bands names {band}, but the images have {', '.join(known)} (1 to {len(known)}): name some of these"
            )
    places = tuple(by_name[band.lower()] for band in bands)
    if twice := [band for band, place in zip(bands, places, strict=True) if places.count(place) > 1]:
        raise UserError(f"--bands names {' and '.join(twice)}, which are one band: name each once")
    return places


def _check_pair(pair: Pair, num_named: int) -> tuple[TileFile, tuple[int, str]]:
    """The tile and its image's (bands, dtype), from the two headers; `num_named` bands are named in dataset.json."""
    image, mask = pair.image, pair.mask
    header = read_header(image)
    height, width, num_bands, dtype = header.height, header.width, header.bands_named(num_named), header.dtype
    mask_height, mask_width, _, mask_dtype, mask_bands = read_header(mask)
    if (height, width) != (mask_height, mask_width):
        raise UserError(
            f"{mask} is {mask_width}×{mask_height} px, but its image is {width}×{height} px: "
            "image and mask must have one size"
        )
    if mask_bands > MOST_BANDS or not np.issubdtype(np.dtype(mask_dtype), np.integer):
        raise UserError(
            f"{mask} has {mask_bands} bands of {mask_dtype}, but a mask must be one band of integer class indices, or "
            "colours of 8 bits: convert it"
        )
    return TileFile(pair.id, image, mask, height, width), (num_bands, dtype)
