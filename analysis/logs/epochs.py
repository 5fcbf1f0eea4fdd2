"""The numbers that trials have logged with their epochs, in columns: there may be millions of them."""

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Epochs:
    """The numbers that one W&B run, or one trial, has logged with its epochs.

    Attributes:
        names: Of the columns; `epoch` is one.
        numbers: (epochs, names) float64; NaN where one is missing.
    """

    names: tuple[str, ...]
    numbers: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.numbers)

    def column(self, name: str) -> NDArray[np.float64]:
        """Returns the (epochs,) values of a column, NaN where there is no such column."""
        if name not in self.names:
            return np.full(len(self), np.nan)
        return self.numbers[:, self.names.index(name)]


def epochs_of(rows: Iterable[Mapping[str, Any]]) -> Epochs:
    """Returns the numbers of the rows that are of an epoch, but for W&B's own, whose names begin with "_"."""
    kept = [row for row in rows if isinstance(row.get("epoch"), int | float) and row["epoch"] >= 1]
    columns: dict[str, array[float]] = {}
    for name in sorted({key for key in set().union(*kept) if key[0] != "_"}):
        logged = [row.get(name, math.nan) for row in kept]
        try:
            columns[name] = array("d", logged)
        except TypeError:  # some are no numbers
            numbers = [value if isinstance(value, int | float) else math.nan for value in logged]
            if any(isinstance(value, int | float) for row in kept if (value := row.get(name)) is not None):
                columns[name] = array("d", numbers)
    return Epochs(names=tuple(columns), numbers=np.array([*columns.values()]).T.reshape(len(kept), len(columns)))


def joined(parts: Sequence[Epochs]) -> Epochs:
    """Returns the epochs that a trial's runs, oldest first, hold together, in order: an epoch's first record stands.

    A run that goes on from a checkpoint begins with the records of that checkpoint, and where it cannot, with the next
    epoch: only together are the runs sure to hold all epochs.
    """
    parts = [part for part in parts if len(part)]
    if not parts:
        return epochs_of([])
    if len(parts) == 1 and np.all(np.diff(parts[0].column("epoch")) >= 1):
        return parts[0]
    names = parts[0].names
    if any(part.names != names for part in parts):
        names = tuple(sorted({name for part in parts for name in part.names}))
    numbers = np.concatenate(
        [part.numbers if part.names == names else np.stack([part.column(n) for n in names], axis=1) for part in parts]
    )
    firsts = np.unique(numbers[:, names.index("epoch")].astype(np.int64), return_index=True)[1]
    return Epochs(names=names, numbers=numbers[firsts])


def history_frame(runs: pd.DataFrame, epochs: Sequence[Epochs]) -> pd.DataFrame:
    """Makes one frame of all trials' epochs.

    Args:
        runs: A row per trial, with the columns that each of its epochs shall have as well.
        epochs: A trial's own, in the order of the rows.

    Returns:
        The columns of `runs`, then `epoch` (int64), then the other numbers by name (float64).
    """
    counts = [len(part) for part in epochs]
    names = sorted({name for part in epochs for name in part.names} - {"epoch"})
    places = {name: place for place, name in enumerate(["epoch", *names])}
    columns = np.full((len(places), sum(counts)), np.nan)
    at = 0
    for part, count in zip(epochs, counts, strict=True):
        columns[[places[name] for name in part.names], at : at + count] = part.numbers.T
        at += count
    identity = runs.take(np.repeat(np.arange(len(runs)), counts)).reset_index(drop=True)
    epoch = pd.Series(columns[0].astype(np.int64), name="epoch")
    return pd.concat([identity, epoch, pd.DataFrame(columns[1:].T, columns=names, copy=False)], axis=1)
