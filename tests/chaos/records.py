"""What a study has on record, read past the product's own code, and what of it is gone or changed later."""

import contextlib
import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LEDGER = "optuna.db"
REGISTER = "seal.jsonl"

LOSABLE = ("trials", "epochs", "decisions", "register lines", "scores")

Key = tuple[str, int]
"""Arm and number of a trial."""


@dataclass(slots=True)
class TrialRecord:
    """What the ledger says of a trial; parameters with their distributions, values by epoch."""

    state: str
    parameters: dict[str, tuple[float, str]] = field(default_factory=dict)
    values: dict[int, float] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def outcome(self) -> str | None:
        return self.attributes.get("outcome")

    @property
    def epoch(self) -> int:
        """The last one on record."""
        return max(self.values, default=0)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was on record at one moment; the register's lines by hash, final models' scores on val by their file."""

    trials: dict[Key, TrialRecord]
    lines: dict[str, dict[str, Any]]
    scores: dict[str, Any] = field(default_factory=dict)


def take(out: Path, registers: list[Path]) -> Snapshot:
    """What is on record while no driver runs; nothing in the folder is touched."""
    with tempfile.TemporaryDirectory() as copy:  # opening the file itself would do a killed driver's recovery
        for path in out.glob(f"{LEDGER}*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, copy)
        trials = {}
        if (out / LEDGER).exists():
            connection = sqlite3.connect(Path(copy) / LEDGER)
            with contextlib.closing(connection), contextlib.suppress(sqlite3.OperationalError):  # no tables yet
                trials = _read(connection)
    lines = {line["hash"]: line for path in registers for line in read_lines(path)}
    paths = out.glob("checkpoints/*-confirmation-*/*/val_scores.json")
    scores = {str(path.relative_to(out)): json.loads(path.read_text(encoding="utf-8")) for path in paths}
    return Snapshot(trials, lines, scores)


def look(out: Path) -> dict[Key, TrialRecord]:
    """What the ledger of a running study says now; nothing where there is none yet."""
    try:
        connection = sqlite3.connect(f"{(out / LEDGER).as_uri()}?mode=ro", uri=True, timeout=5)
        with contextlib.closing(connection):
            return _read(connection)
    except sqlite3.OperationalError:
        return {}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a register, in its order."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            lines.append(json.loads(text))
    return lines


def _read(connection: sqlite3.Connection) -> dict[Key, TrialRecord]:
    connection.execute("BEGIN")  # one moment for all tables
    by_id: dict[int, TrialRecord] = {}
    trials: dict[Key, TrialRecord] = {}
    query = "SELECT trial_id, study_name, number, state FROM trials JOIN studies USING (study_id) ORDER BY trial_id"
    for trial_id, arm, number, state in connection.execute(query):
        trials[arm, number] = by_id[trial_id] = TrialRecord(state)
    of_trials = "JOIN trials USING (trial_id)"
    query = f"SELECT trial_id, param_name, param_value, distribution_json FROM trial_params {of_trials}"
    for trial_id, name, value, distribution in connection.execute(query):
        by_id[trial_id].parameters[name] = (value, distribution)
    query = f"SELECT trial_id, step, intermediate_value FROM trial_intermediate_values {of_trials} ORDER BY step"
    for trial_id, epoch, value in connection.execute(query):
        by_id[trial_id].values[epoch] = value
    query = f"SELECT trial_id, key, value_json FROM trial_user_attributes {of_trials}"
    for trial_id, name, content in connection.execute(query):
        by_id[trial_id].attributes[name] = json.loads(content)
    return trials


def losses(before: Snapshot, after: Snapshot) -> tuple[Counter[str], list[str]]:
    """What was on record and is gone or changed: how many of each of LOSABLE, and in words."""
    lost: Counter[str] = Counter()
    words: list[str] = []

    def lose(what: str, description: str) -> None:
        lost[what] += 1
        words.append(f"{what}: {description}")

    for (arm, number), old in before.trials.items():
        name, new = f"{arm} #{number}", after.trials.get((arm, number))
        if new is None:
            lose("trials", f"{name} is gone")
            continue
        if (old.parameters, old.attributes.get("config")) != (new.parameters, new.attributes.get("config")):
            lose("trials", f"{name} has other parameters")
        for epoch, value in old.values.items():
            if new.values.get(epoch) != value:
                lose("epochs", f"{name}, epoch {epoch}: {value} became {new.values.get(epoch)}")
        if old.outcome is not None and old.outcome != new.outcome:
            lose("decisions", f"{name}, outcome: {old.outcome} became {new.outcome}")
        if old.state != "RUNNING" and old.state != new.state:
            lose("decisions", f"{name}, state: {old.state} became {new.state}")
    for digest in before.lines.keys() - after.lines.keys():
        lose("register lines", f"{before.lines[digest]['event']} {before.lines[digest]['at']} is gone")
    for path, content in before.scores.items():
        if after.scores.get(path) != content:
            lose("scores", f"{path} became {after.scores.get(path)}")
    return lost, words
