"""The networks of a cross-validated trial: one trains at a time, the others rest in main memory."""

import math
from collections.abc import Container, Iterator, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_map

from trainables.folds.split import Part
from trainables.metrics import only_class, scores
from trainables.predict import Evaluation
from trainables.training import TrainingState


class Networks:
    """Takes turns with one `TrainingState`: iterating gives each part with its own network in that state.

    So the device holds the weights, the gradients and the optimizer's moments of one network, whatever the number of
    folds; the machine's memory holds them once more for every fold (3 numbers per trained parameter, 4 with a moving
    average), and a frozen encoder once. A trial of one part keeps its network where it is.

    Args:
        trial: Newly made, with all train tiles of the trial.
        parts: Its parts; every network starts from the same weights.
    """

    def __init__(self, trial: TrainingState, parts: Sequence[Part]):
        self._trial, self._parts = trial, parts
        self._resting: list[Any] = []
        if len(parts) > 1:
            for part in parts:
                trial.normalise_by(part.tiles)
                self._resting.append(_in_main_memory(trial.tensors()))

    def __iter__(self) -> Iterator[Part]:
        for number, part in enumerate(self._parts):
            if self._resting:
                self._trial.load_tensors(self._resting[number])
                self._resting[number] = None
            yield part
            if self._resting:
                self._trial.optimizer.zero_grad(set_to_none=True)
                self._resting[number] = _in_main_memory(self._trial.tensors())

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of them after an epoch, when the last one is in the training state."""
        return self._trial.state() | ({"folds": self._resting[:-1]} if self._resting else {})

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores a `state()` that the training state was restored from, too."""
        if self._resting:
            self._resting = [*state["folds"], _in_main_memory(self._trial.tensors())]


def _in_main_memory(tensors: Any) -> Any:
    """A copy that nothing changes."""
    return tree_map(lambda value: value.to("cpu", copy=True) if isinstance(value, torch.Tensor) else value, tensors)


def kept_of(part: Part, kept: bool | Container[int]) -> list[int]:
    """The tiles of a part whose predictions to keep, where `kept` says it of the tiles of the trial."""
    return [i for i, place in enumerate(part.places) if (kept if isinstance(kept, bool) else place in kept)]


def merge(parts: Sequence[Part], results: Sequence[Evaluation], kept: bool | Container[int]) -> Evaluation:
    """Returns the evaluation of all parts together, as if one model had predicted all of their tiles.

    Args:
        parts: Of a trial.
        results: Of each, with the predictions that `kept_of` says.
        kept: Which predictions are kept, of those of the trial.
    """
    if len(parts) == 1:
        return results[0]
    confusions = _in_order(parts, [result.confusions for result in results])
    counts = [sum(bool(matrix.any()) for matrix in result.confusions) for result in results]
    losses = [result.loss * count for result, count in zip(results, counts, strict=True) if count]
    predicted = [Part(part.tiles, tuple(part.places[i] for i in kept_of(part, kept))) for part in parts]
    return Evaluation(
        sum(losses) / sum(counts) if losses else math.nan,
        scores(confusions),
        tuple(_in_order(predicted, [result.predictions for result in results])),
        only_class(confusions),
        tuple(confusions),
    )


def _in_order(parts: Sequence[Part], values: Sequence[Sequence[Any]]) -> list[Any]:
    """One value per tile, in the order of the trial's judged tiles."""
    by_place = {
        place: value
        for part, its in zip(parts, values, strict=True)
        for place, value in zip(part.places, its, strict=True)
    }
    return [by_place[place] for place in sorted(by_place)]
