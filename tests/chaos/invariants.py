"""What must hold of a complete study whatever happened to it, and of two that should have come to the same."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from records import REGISTER, Key, Snapshot, TrialRecord, read_lines

from analysis.logs.wandb_files import read_logs
from studies.search.ladder import Ladder
from trainables import checkpoints

CONFIRMATION = "-confirmation"
STATES = {"finished": "COMPLETE", "stopped": "PRUNED", "diverged": "COMPLETE", "failed": "FAIL"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a study was asked for.

    Attributes:
        arms: Of the search.
        trials: Of each of them.
        seeds: Final models of each arm.
        epochs: Of a trial that runs its course.
        grace_epochs: The first rung; the rungs are 2 apart.
        num_slots: Trials side by side: with one, ASHA's decisions follow from the trials' order.
    """

    arms: tuple[str, ...]
    trials: int
    seeds: int
    epochs: int
    grace_epochs: int
    num_slots: int


def broken(out: Path, tiles: Path, seen: Snapshot, expected: Expected) -> list[str]:
    """All that does not hold, a sentence each."""
    return [
        *_allowances(seen, expected),
        *_endings(seen, expected),
        *_decisions(seen, expected),
        *_logged(out, seen, expected),
        *_selected(out, seen, expected),
        *_scored(out, seen),
        *_opened(out, tiles, seen, expected),
        *_left(out),
    ]


def differences(reference: Snapshot, other: Snapshot, folder: Path, other_folder: Path) -> list[str]:
    """How a study that was interrupted differs from one that was not."""
    found = []
    for key in sorted(reference.trials.keys() | other.trials.keys()):
        pair = (reference.trials.get(key), other.trials.get(key))
        if None in pair:
            found.append(f"{_name(key)} exists in one of the studies only")
            continue
        for what in ("parameters", "values", "state"):
            then, now = (getattr(trial, what) for trial in pair)
            if then != now:
                found.append(f"{_name(key)}: {what} {then} became {now}")
        for what in ("config", "outcome", "reason", "epochs", "best_epoch"):
            then, now = (trial.attributes.get(what) for trial in pair if trial is not None)
            if then != now:
                found.append(f"{_name(key)}: {what} {then} became {now}")
    selections = [(path / "selection.json").read_text(encoding="utf-8") for path in (folder, other_folder)]
    if selections[0] != selections[1]:
        found.append("selection.json differs")
    scores = [_test_scores(path) for path in (folder, other_folder)]
    if scores[0] != scores[1]:
        found.append(f"test scores {scores[0]} became {scores[1]}")
    return found


def _test_scores(out: Path) -> dict[str, Any]:
    content = json.loads((out / "models.json").read_text(encoding="utf-8"))
    return {arm: (row["test_iou"], row["models"], row["opening"]["attempt"]) for arm, row in content.items()}


def _name(key: Key) -> str:
    return f"{key[0]} #{key[1]}"


def _allowances(seen: Snapshot, expected: Expected) -> Iterator[str]:
    numbers = defaultdict(list)
    for arm, number in seen.trials:
        search, is_confirmation, _ = arm.partition(CONFIRMATION)
        numbers[f"{search}{is_confirmation}"].append(number)
    wanted = dict.fromkeys(expected.arms, expected.trials)
    wanted |= {f"{arm}{CONFIRMATION}": expected.seeds for arm in expected.arms}
    for arm in sorted(wanted.keys() | numbers.keys()):
        if sorted(numbers[arm]) != list(range(wanted.get(arm, 0))):
            yield f"{arm} has the trials {sorted(numbers[arm])} instead of {wanted.get(arm, 0)}"


def _endings(seen: Snapshot, expected: Expected) -> Iterator[str]:
    for key, trial in seen.trials.items():
        about, epochs = trial.attributes, sorted(trial.values)
        if trial.outcome is None or STATES.get(trial.outcome) != trial.state:
            yield f"{_name(key)} is {trial.state} in Optuna's words, but {trial.outcome} in ours"
            continue
        if epochs != list(range(1, len(epochs) + 1)):
            yield f"{_name(key)} has the epochs {epochs}"
        if about["epochs"] != len(epochs):
            yield f"{_name(key)} has {len(epochs)} epochs, but {about['epochs']} were booked"
        if about["seconds"] != len(epochs):  # each epoch says that it took a second
            yield f"{_name(key)} has {len(epochs)} epochs of one second, but {about['seconds']} s were booked"
        if list(trial.values.values()) != sorted(trial.values.values()):
            yield f"{_name(key)} has a best value that gets worse: {trial.values}"
        if trial.outcome == "failed":
            yield f"{_name(key)} failed: {about['reason']}"
        if trial.outcome == "finished" and len(epochs) != expected.epochs:
            yield f"{_name(key)} finished after {len(epochs)} epochs"


def _decisions(seen: Snapshot, expected: Expected) -> Iterator[str]:
    """Rebuilds the ladders; where trials ran side by side, their order at a rung is not known."""
    for arm in expected.arms:
        ladder = Ladder(epochs=expected.epochs, grace_epochs=expected.grace_epochs, reduction_factor=2)
        trials = {number: seen.trials[a, number] for a, number in sorted(seen.trials) if a == arm}
        for number, trial in trials.items():
            for epoch, value in trial.values.items():
                ladder.record(number, epoch, value)
                if expected.num_slots == 1 and trial.outcome in ("finished", "stopped") and epoch < expected.epochs:
                    is_stopped = trial.outcome == "stopped" and epoch == trial.epoch
                    if ladder.goes_on(number, epoch) == is_stopped:
                        yield f"{arm} #{number} was {'' if is_stopped else 'not '}stopped at epoch {epoch}"
        for number, trial in trials.items():
            if trial.outcome == "stopped":
                rung = ladder.rungs.get(trial.epoch)
                if rung is None:
                    yield f"{arm} #{number} was stopped at epoch {trial.epoch}, where no rung is"
                elif max(rung.values()) <= trial.values[trial.epoch]:
                    yield f"{arm} #{number} was stopped at rung {trial.epoch}, but nobody was better"


def _logged(out: Path, seen: Snapshot, expected: Expected) -> Iterator[str]:
    """Every epoch on record must be in the W&B logs, and all that tables are made of."""
    logs = read_logs(out)
    logged = {(row.run_arm, row.number, row.epoch) for row in logs.history.itertuples()}
    for key, trial in seen.trials.items():
        missing = [epoch for epoch in trial.values if (*key, epoch) not in logged]
        if missing:
            yield f"{_name(key)}: the W&B logs lack the epochs {missing} of {trial.epoch}"
    states = {(row.run_arm, row.number): row.state for row in logs.runs.itertuples()}
    for key, trial in seen.trials.items():
        if states.get(key) != trial.outcome:
            yield f"{_name(key)} is {states.get(key)} in the W&B logs, but {trial.outcome} in the ledger"
    wanted = {"selection": len(expected.arms), "models": len(expected.arms) * expected.seeds}
    for name, num_rows in wanted.items():
        if len(getattr(logs, name)) != num_rows:
            yield f"the W&B logs hold {len(getattr(logs, name))} {name} instead of {num_rows}"
    if set(logs.openings["arm"]) != set(expected.arms):
        yield f"the W&B logs hold openings of {sorted(set(logs.openings['arm']))} only"


def _selected(out: Path, seen: Snapshot, expected: Expected) -> Iterator[str]:
    content = json.loads((out / "selection.json").read_text(encoding="utf-8"))
    for arm in expected.arms:
        finished = [(trial.values[trial.epoch], -n) for (a, n), trial in seen.trials.items() if _won(a == arm, trial)]
        if not finished:
            yield f"{arm} has no trial that ran its course"
            continue
        best, number = max(finished)
        row = content.get(arm, {})
        if (row.get("number"), row.get("judged")) != (-number, best):
            yield f"{arm}: selection.json names #{row.get('number')}, but #{-number} came to {best}"
            continue
        epoch = checkpoints.load(out / row["checkpoint"], checkpoints.BEST)["epoch"]
        if epoch != row["best_epoch"]:
            yield f"{arm} #{-number}: its best checkpoint is of epoch {epoch}, but epoch {row['best_epoch']} was best"
        folder = out / "checkpoints" / arm
        kept = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        if kept != [f"{-number:04d}/{name}" for name in (checkpoints.BEST, "val_scores.json")]:
            yield f"{arm}: the files {kept} are kept of its trials, but #{-number} was best"


def _won(is_of_arm: bool, trial: TrialRecord) -> bool:
    return is_of_arm and trial.outcome == "finished"


def _scored(out: Path, seen: Snapshot) -> Iterator[str]:
    """Each final model was scored on val to the end once, whatever ended the driver meanwhile."""
    for (arm, number), trial in seen.trials.items():
        if CONFIRMATION in arm and trial.outcome == "finished":
            path = out.parent / f"scored-{arm}-{number:04d}-val"
            count = len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0
            if count != 1:
                yield f"{arm} #{number} was scored on val {count} times"


def _opened(out: Path, tiles: Path, seen: Snapshot, expected: Expected) -> Iterator[str]:
    """The register's chain, one opening per attempt unless reopened, and a result for each arm."""
    lines, before = read_lines(tiles / REGISTER), ""
    for line in lines:
        if line["prev"] != before or line["hash"] != _hash(line):
            yield f"the register's chain is broken at {line['event']} {line['at']}"
        before = line["hash"]
    if missing := seen.lines.keys() - {line["hash"] for line in lines}:
        yield f"{len(missing)} lines are not in the register beside the tiles"
    events = Counter((line["event"], line["arm"]) for line in seen.lines.values())
    for arm in expected.arms:
        opened, results = events["opened", arm], events["result", arm]
        if (opened, results) != (1, 1):
            yield f"{arm} has {opened} openings and {results} results, and {events['reopened', arm]} reopenings"
    if set(expected.arms) != json.loads((out / "models.json").read_text(encoding="utf-8")).keys():
        yield "models.json does not hold every arm"


def _hash(line: Mapping[str, Any]) -> str:
    content = {key: value for key, value in line.items() if key != "hash"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _left(out: Path) -> Iterator[str]:
    for pattern in (".permit-*", ".lock", "*.partial", "*.part", "optuna.db-*"):
        for path in sorted(out.glob(pattern)):
            yield f"{path.name} is left in the folder"
