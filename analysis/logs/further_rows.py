"""The rows of further test sets in the history of a study's run, beside those of `rows`."""

from collections.abc import Mapping
from typing import NotRequired, TypedDict


class FurtherFacts(TypedDict):
    """What a final model came to on a further test set, but for its scores by tile.

    Attributes:
        arm, number, signature, scored, attempt: As in its `ModelRow`.
        test_set: The set's name, as in `test-<name>`.
        test_iou, test_f1: On its whole tiles, in [0, 1].
    """

    arm: str
    number: int
    test_set: str
    signature: str
    test_iou: float
    test_f1: float
    attempt: NotRequired[str]
    scored: NotRequired[str | None]


class FurtherModel(FurtherFacts):
    """The same with scores by tile id, as in `FinalModel`; `models.json` holds it so."""

    test_tile_iou: Mapping[str, float | None]
    test_tile_confusion: NotRequired[Mapping[str, list[int]] | None]


class FurtherRow(FurtherFacts):
    """The same with scores as lists, as in `ModelRow`. A later row of the same arm, number and set stands for it."""

    test_tiles: NotRequired[list[str]]
    test_tile_iou: NotRequired[list[float | None]]
    test_tile_confusion: NotRequired[list[list[int]]]
