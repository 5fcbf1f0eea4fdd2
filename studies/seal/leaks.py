"""Whether train, val and test tiles are independent: what two splits share makes scores better than on new tiles."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console

from studies.inputs import StudyInputs
from trainables.common.errors import UserError
from trainables.common.places import shared_places
from trainables.data.duplicates import duplicates
from trainables.data.layout.folder import named

if TYPE_CHECKING:
    from studies.seal.seal import Seal


def check_splits(inputs: StudyInputs, seals: Sequence["Seal"], console: Console, *, strict: bool) -> StudyInputs:
    """Shows what splits share: images, ground by their georeferences, and places by the groups of `dataset.json`.

    Args:
        inputs: The study's.
        seals: Of the test sets, after their checks, which looked at the tiles; none where these stay sealed.
        console: Where notes are shown.
        strict: Whether to refuse such splits.

    Returns:
        The inputs, with what is not known from elsewhere among the notes that are logged.

    Raises:
        UserError: Splits share something, and are to be refused then.
    """
    dataset = inputs.dataset
    splits = {}
    for files in (dataset.train, dataset.val):  # also where they are one pool: folds part it
        splits[str(files.split)] = tuple(tile.id for tile in files.tiles), inputs.thumbnails[files.split]
    sealed = {files.split: tuple(tile.id for tile in files.tiles) for files in dataset.test_sets}
    splits |= {seal.split: (sealed[seal.split], seal.thumbnails) for seal in seals}
    found = (*inputs.dataset.overlaps, *duplicates(splits))
    for note in (*found, *_places_note(inputs)):
        if strict:
            raise UserError(f"{note}; move tiles between the splits, or leave --strict-splits out")
        console.print(f"Note: {note}", highlight=False, soft_wrap=True)
    return replace(inputs, facts=inputs.facts | {"data_notes": [*inputs.facts["data_notes"], *found]})


def _places_note(inputs: StudyInputs) -> tuple[str, ...]:
    """A note on places that have tiles in several splits; the report finds them in the logs."""
    dataset = inputs.dataset
    splits = {"train": dataset.train.tiles, "val": dataset.val.tiles}
    if inputs.spec.labels is not None:  # which are cut into folds by place
        splits = {"labelled": splits["train"] + splits["val"]}
    splits |= {files.split: files.tiles for files in dataset.test_sets}
    shared = shared_places(dataset.info.groups, {name: [tile.id for tile in its] for name, its in splits.items()})
    if not shared:
        return ()
    names = named(f"{place} ({', '.join(its)})" for place, its in shared.items())
    return (f"places have tiles in several splits by dataset.json ({names}): scores are better than elsewhere",)
