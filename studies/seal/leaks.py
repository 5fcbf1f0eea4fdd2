"""Whether train, val and test tiles are independent: what two splits share makes scores better than on new tiles."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from studies.inputs import StudyInputs
from trainables.common.errors import UserError
from trainables.common.places import shared_places
from trainables.data.duplicates import duplicates, thumbnails
from trainables.data.layout.folder import named

if TYPE_CHECKING:
    from studies.seal.seal import Seal


def check_splits(inputs: StudyInputs, seal: "Seal | None", console: Console, *, strict: bool) -> StudyInputs:
    """Shows what splits share: images, ground by their georeferences, and places by the groups of `dataset.json`.

    Args:
        inputs: The study's.
        seal: After its check, which looked at the test tiles; None where they stay sealed.
        console: Where notes are shown.
        strict: Whether to refuse such splits.

    Returns:
        The inputs, with what is not known from elsewhere among the notes that are logged.

    Raises:
        UserError: Splits share something, and are to be refused then.
    """
    images = {
        tile: image
        for its in (inputs.tiles.train, inputs.tiles.val)
        for tile, image in zip(its.ids, its.images, strict=True)
    }
    splits: dict[str, tuple[tuple[str, ...], NDArray[np.float32]]] = {}
    for files in (inputs.dataset.train, inputs.dataset.val):  # also where they are one pool: folds part it
        ids = tuple(tile.id for tile in files.tiles)
        splits[files.split] = (ids, thumbnails([images[tile] for tile in ids]))
    if seal is not None:
        splits["test"] = (tuple(tile.id for tile in inputs.dataset.test.tiles), seal.thumbnails)
    found = (*inputs.dataset.overlaps, *duplicates(splits))
    for note in (*found, *_places_note(inputs)):
        if strict:
            raise UserError(f"{note}; move tiles between the splits, or leave --strict-splits out")
        console.print(f"Note: {note}", highlight=False, soft_wrap=True)
    return replace(inputs, facts=inputs.facts | {"data_notes": [*inputs.facts["data_notes"], *found]})


def _places_note(inputs: StudyInputs) -> tuple[str, ...]:
    """A note on places that have tiles in several splits; the report finds them in the logs."""
    dataset = inputs.dataset
    splits = {"train": dataset.train.tiles, "val": dataset.val.tiles, "test": dataset.test.tiles}
    if inputs.spec.labels is not None:  # which are cut into folds by place
        splits = {"labelled": splits["train"] + splits["val"], "test": splits["test"]}
    shared = shared_places(dataset.info.groups, {name: [tile.id for tile in its] for name, its in splits.items()})
    if not shared:
        return ()
    names = named(f"{place} ({', '.join(its)})" for place, its in shared.items())
    return (f"places have tiles in several splits by dataset.json ({names}): scores are better than elsewhere",)
