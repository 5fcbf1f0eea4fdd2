"""What a study recorded of its searches, for a simulation: read from its folder, or from a small file made of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searchspace.spaces import Point
from studies.files import folder
from studies.search.ledger_file import read_trials
from studies.spec import WHERE, StudySpec
from trainables.common.errors import UserError
from trainables.common.whole_files import write_whole
from trainables.config import TrialConfig

DIGITS = 4
"""Of values in a file: an IoU to .0001, and a hyperparameter to four significant ones."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A trial that ended.

    Attributes:
        point: Its hyperparameters.
        best: The best judged IoU so far of each epoch.
        epoch_seconds: What an epoch took, on average.
    """

    point: Point
    best: Sequence[float]
    epoch_seconds: float


@dataclass(frozen=True, slots=True)
class Recording:
    """The settings of a study, and the curves of each of its arms.

    Attributes:
        source: Where it was read from.
        settings: As flags; in a file those that differ from the defaults, without paths and machines.
        curves: Of the trials of each arm that ended, by the arm's name; of those that were stopped, short ones.
    """

    source: Path
    settings: Mapping[str, Any]
    curves: Mapping[str, Sequence[Curve]]

    @classmethod
    def read(cls, source: Path) -> "Recording":
        """Reads a study's folder, or a file of `write`.

        Raises:
            UserError: There is neither.
        """
        if source.is_file():
            return cls._read_file(source)
        settings, provenance = folder.load_frozen(source)
        curves: dict[str, list[Curve]] = {}
        for arm, trials in read_trials(source / folder.LEDGER, provenance["study_id"]).items():
            for trial in trials:
                about = trial.attributes
                if trial.has_ended and trial.best:
                    point = TrialConfig.model_validate_json(about["config"]).hyperparameters
                    best = [value for _, value in sorted(trial.best.items())]
                    curves.setdefault(arm, []).append(Curve(point, best, about["seconds"] / about["epochs"]))
        return cls(source, settings, curves)

    @classmethod
    def _read_file(cls, source: Path) -> "Recording":
        try:
            content = json.loads(source.read_bytes())
            curves = {arm: [Curve(**curve) for curve in its] for arm, its in content["curves"].items()}
            return cls(source, content["settings"], curves)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{source} holds no recorded curves ({error}): give the folder of a study, or a file that "
                "benchmarks.record made of one"
            ) from error

    def write(self, path: Path) -> None:
        """Writes what it holds to a file that names no machine and no path."""
        usual = StudySpec().flat()
        untold = {*WHERE, "weights", "chosen", "profile"}
        settings = {name: v for name, v in self.settings.items() if name not in untold and v != usual[name]}
        lines = []
        for arm, curves in self.curves.items():
            its = [json.dumps(_rounded(curve), separators=(",", ":")) for curve in curves]
            lines.append(f"{json.dumps(arm)}: [\n" + ",\n".join(its) + "\n]")
        text = f'{{"settings": {json.dumps(settings)},\n"curves": {{\n' + ",\n".join(lines) + "\n}}\n"
        write_whole(path, text.encode())


def _rounded(curve: Curve) -> dict[str, Any]:
    point = {n: float(f"{v:.{DIGITS}g}") if isinstance(v, float) else v for n, v in curve.point.items()}
    best = [round(value, DIGITS) for value in curve.best]
    return {"point": point, "best": best, "epoch_seconds": round(curve.epoch_seconds, 2)}
