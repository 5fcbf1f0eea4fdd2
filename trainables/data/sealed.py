"""The pixels of a test set's tiles, the check that they are whole, and the digests of their files.

Only `studies.seal.seal` may import this module.
"""

import json
from pathlib import Path

import numpy as np

from trainables.common.errors import UserError
from trainables.common.whole_files import digest, text_digest
from trainables.data.dataset import Dataset, SealedFiles, TileFile
from trainables.data.decode import decode_files, on_all_cores
from trainables.data.duplicates import Thumbnails, thumbnails
from trainables.data.masks import MaskRule
from trainables.data.tiles import IGNORE, Tiles


def check_sealed(dataset: Dataset, files: SealedFiles, rule: MaskRule) -> Thumbnails:
    """Checks that a test set's tiles are whole and their masks hold classes, so that no study fails after its training.

    Some more tiles than there are cores are in memory.

    Args:
        dataset: The checked folder.
        files: Of the test set.
        rule: What mask values mean, as the train and val masks say.

    Returns:
        Thumbnails of the images, by which those are found that are in other splits, too; nothing of the masks.

    Raises:
        UserError: A file is damaged or truncated, or a mask holds a value that is no class, or that means something
            else in the train and val masks; or no pixel of all of them counts.
    """

    def look(tile: TileFile) -> tuple[bool, Thumbnails]:
        decoded = decode_files((tile,), dataset, rule)
        return bool((decoded.masks[0] != IGNORE).any()), thumbnails(decoded.images)

    seen = list(on_all_cores(look, files.tiles))
    if not any(has_counting for has_counting, _ in seen):
        raise UserError(
            f"all {files.split} tiles are void or without data in every pixel, but test scores need some that count: "
            "mend them, or do without by --no-test"
        )
    return np.concatenate([small for _, small in seen])


def decode_sealed(dataset: Dataset, files: SealedFiles, rule: MaskRule) -> Tiles:
    """Decodes the tiles of a test set as `decode` does train and val tiles.

    Args:
        dataset: As `check_sealed`.
        files: As `check_sealed`.
        rule: As `check_sealed`.

    Raises:
        UserError: As `check_sealed`.
    """
    return decode_files(files.tiles, dataset, rule)


def file_digests(files: SealedFiles) -> dict[str, str]:
    """Tile id to the SHA-256 over its image file's bytes and its mask file's; decodes nothing.

    Raises:
        UserError: A file cannot be read.
    """
    return {tile.id: text_digest(_file_digest(tile.image) + _file_digest(tile.mask)) for tile in files.tiles}


def tiles_digest(digests: dict[str, str]) -> str:
    """SHA-256 over the ids and digests of `file_digests`: what tells one test set from another."""
    return text_digest(json.dumps(digests, sort_keys=True))


def _file_digest(path: Path) -> str:
    try:
        return digest(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): put it back or make it readable") from error
