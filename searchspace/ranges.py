"""The ranges that hyperparameters are searched in: some choices, or all numbers between two bounds. Plain data."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Choices:
    """One of several values, all equally likely at first."""

    choices: tuple[Any, ...]

    def has(self, value: Any) -> bool:
        """Whether the value is one of them."""
        return value in self.choices

    def at(self, u: float) -> Any:
        """The value at fraction `u` in [0, 1) of them."""
        return self.choices[int(u * len(self.choices))]

    def described(self) -> dict[str, Any]:
        """The range as JSON: `choices`."""
        return {"choices": list(self.choices)}

    def __str__(self) -> str:
        """The range as people write it."""
        return " | ".join(str(choice) for choice in self.choices)


@dataclass(frozen=True, slots=True)
class Bounds:
    """All numbers from `low` to `high`, evenly, or evenly in their logarithm."""

    low: float
    high: float
    log: bool = False

    def has(self, value: Any) -> bool:
        """Whether the number lies in the range; None lies in none."""
        return value is not None and self.low <= value <= self.high

    def at(self, u: float) -> float:
        """The number at fraction `u` in [0, 1) of the range."""
        low, high = self.low, self.high
        return low * (high / low) ** u if self.log else low + (high - low) * u

    def described(self) -> dict[str, Any]:
        """The range as JSON: `low`, `high` and `log`."""
        return {"low": self.low, "high": self.high, "log": self.log}

    def __str__(self) -> str:
        """The range as people write it."""
        return f"{self.low:g} … {self.high:g}{' (log)' if self.log else ''}"


Range = Choices | Bounds

Space = dict[str, Range]
"""A range per hyperparameter, in a fixed order."""
