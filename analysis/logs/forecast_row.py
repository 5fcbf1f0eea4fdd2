"""The row of a study's run that says how good its first forecast of its own time was."""

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict, cast

from analysis.logs.run_configs import required


class ForecastRow(TypedDict):
    """What a study forecast when its first trial had ended, and what it took; of a study that was not resumed.

    Attributes:
        after_seconds: From when the tiles were loaded until then.
        left_seconds: The forecast of what was left until the last model was scored.
        took_seconds: What that took.
    """

    after_seconds: float
    left_seconds: float
    took_seconds: float


_FORECAST = "forecast/"
"""How the keys of a forecast begin."""


def forecast_to_history(row: ForecastRow) -> dict[str, Any]:
    """Returns the row as it is logged."""
    return {f"{_FORECAST}{key}": value for key, value in row.items()}


def forecast_from_history(history: Iterable[Mapping[str, Any]]) -> ForecastRow | None:
    """Returns the newest whole one in a history; None where there is none."""
    keys = required(ForecastRow)
    found = [row for row in history if all(f"{_FORECAST}{key}" in row for key in keys)]
    return cast("ForecastRow", {key: found[-1][f"{_FORECAST}{key}"] for key in keys}) if found else None
