"""Whether train, val and test tiles are independent: what two splits share makes scores better than on new tiles."""

from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console

from studies.inputs import StudyInputs
from trainables.common.errors import UserError
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
    tiles = inputs.tiles
    both = {"train": tiles.train, "val": tiles.val}
    splits = {name: (split.ids, thumbnails(split.images)) for name, split in both.items()}
    if seal is not None:
        splits["test"] = (tuple(tile.id for tile in inputs.dataset.test.tiles), seal.thumbnails)
    found = (*inputs.dataset.overlaps, *duplicates(splits))
    for note in (*found, *_shared_places(inputs)):
        if strict:
            raise UserError(f"{note}; move tiles between the splits, or leave --strict-splits out")
        console.print(f"Note: {note}", highlight=False, soft_wrap=True)
    return replace(inputs, facts=inputs.facts | {"data_notes": [*inputs.facts["data_notes"], *found]})


def _shared_places(inputs: StudyInputs) -> tuple[str, ...]:
    """A note on places that have tiles in several splits; the report finds them in the logs."""
    dataset = inputs.dataset
    of_place: dict[str, set[str]] = {}
    for split in (dataset.train, dataset.val, dataset.test):
        for tile in split.tiles:
            place = dataset.info.groups.get(tile.id)
            if place is not None:
                of_place.setdefault(place, set()).add(getattr(split, "split", "test"))
    shared = [f"{place} ({', '.join(sorted(its))})" for place, its in of_place.items() if len(its) > 1]
    if not shared:
        return ()
    return (f"places have tiles in several splits by dataset.json ({named(shared)}): scores are better than elsewhere",)
