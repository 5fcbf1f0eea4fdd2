"""What is done, running, stopped or failed in a study's folder, and why; also beside a running study.

python -m studies.status OUT
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from studies import folder, lock
from studies.ledger import check_ledger
from studies.register import NAME
from studies.spec import StudySpec
from trainables.command import Parser, run
from trainables.diagnostics import duration
from trainables.errors import UserError

MOST_REASONS = 4
"""Different reasons shown per arm, the most frequent first."""


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the state of the folder that the command line names; the exit code."""
    parser = Parser(
        prog="python -m studies.status", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="folder of a study")
    show(parser.parse_args(argv).out, Console(highlight=False))
    return 0


def show(out: Path, console: Console) -> None:
    """Prints who drives the study, a table of its arms, why trials ended early, and who opened the test tiles.

    Raises:
        UserError: The folder holds no study, or its ledger is damaged.
    """
    if not folder.begun(out):
        raise UserError(f"{out} holds no study (no {folder.STUDY} in it): give the folder of one that has begun")
    settings, provenance = folder.read_settings(out / folder.STUDY, "the frozen spec")
    spec = StudySpec.from_flat(settings)
    path = out / folder.LEDGER
    if not path.exists():
        raise UserError(f"{path} is gone, but holds what was done: put it back")
    check_ledger(path, provenance["study_id"])
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = RDBStorage(f"sqlite:///{path}", skip_table_creation=True, engine_kwargs={"connect_args": {"timeout": 60}})
    studies = optuna.get_all_study_summaries(storage)
    trials = {s.study_name: optuna.load_study(study_name=s.study_name, storage=storage).get_trials() for s in studies}

    driver = lock.holder(out)
    starts = provenance["segments"]
    times = f", started {len(starts)} times" if len(starts) > 1 else ""
    state = f"running: {driver}" if driver else "complete" if _is_complete(out, spec, trials) else "not running"
    console.print(
        f"{out.resolve().name}: {state}; began {starts[0]['began']}{times}; judged by {spec.judged_metric}",
        soft_wrap=True,
    )
    console.print(_table(spec, trials))
    for arm, found in trials.items():
        reasons = Counter(
            f"{t.user_attrs['outcome']}: {t.user_attrs['reason']}"
            for t in found
            if t.user_attrs.get("outcome") not in (None, "finished")
        )
        for reason, count in reasons.most_common(MOST_REASONS):
            console.print(f"{arm}: {count} × {reason}", soft_wrap=True)
    for line in _openings(out):
        console.print(line, soft_wrap=True)
    if driver is None and state != "complete":
        console.print(f"go on with --out {out} --resume", soft_wrap=True)


def _table(spec: StudySpec, trials: dict[str, list[FrozenTrial]]) -> Table:
    """Open trials are #number·epoch; epochs that had to be repeated stand behind a plus."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    names = {arm: _short(arm) for arm in trials}
    table.add_column("arm", min_width=max(len(name) for name in names.values()))
    for column in ("done", "stopped", "failed", "open", "left", "best", "epochs", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    for arm in sorted(trials, key=_order(spec)):
        found = trials[arm]
        outcomes = Counter(t.user_attrs.get("outcome") if t.state.is_finished() else "open" for t in found)
        finished = [t for t in found if t.state == TrialState.COMPLETE and t.user_attrs["outcome"] == "finished"]
        best = max(finished, key=lambda t: (t.value or 0.0, -t.number), default=None)
        costs = [t.user_attrs.get("cost", {"seconds": 0.0, "lost": [0, 0.0]}) for t in found]
        lost = sum(cost["lost"][0] for cost in costs)
        allowance = spec.confirm_seeds if names[arm] != arm else spec.trials
        table.add_row(
            names[arm],
            str(outcomes["finished"]),
            str(outcomes["stopped"]),
            str(outcomes["failed"] + outcomes["diverged"] + outcomes["out of memory"]),
            " ".join(f"#{t.number}·{max(t.intermediate_values, default=0)}" for t in found if not t.state.is_finished())
            or "–",
            str(max(0, allowance - len(found))),
            f"{best.value:.3f} #{best.number}" if best else "–",
            str(sum(len(t.intermediate_values) for t in found)) + (f" +{lost}" if lost else ""),
            duration(sum(cost["seconds"] for cost in costs)),
        )
    return table


def _short(arm: str) -> str:
    """A confirmation's arm, which stands below the one that it confirms, by the configuration."""
    _, is_confirmation, signature = arm.partition("-confirmation-")
    return f"  retrained {signature[:6]}" if is_confirmation else arm


def _order(spec: StudySpec) -> Callable[[str], tuple[int, str]]:
    places = {arm.name: place for place, arm in enumerate(spec.arms())}
    return lambda arm: (places.get(arm.partition("-confirmation-")[0], len(places)), arm)


def _is_complete(out: Path, spec: StudySpec, trials: dict[str, list[FrozenTrial]]) -> bool:
    arms = [arm.name for arm in spec.arms()]
    is_done = all(
        len(trials.get(arm, ())) >= spec.trials and all(t.state.is_finished() for t in trials[arm]) for arm in arms
    )
    last = "confirmation.json" if spec.confirm_seeds else "selection.json"
    return is_done and (out / last).exists()


def _openings(out: Path) -> list[str]:
    """The study's own openings of the test tiles, in words; a fragment that a crash left is passed over."""
    path = out / NAME
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        why = f": {line['why']}" if line.get("why") else ""
        lines.append(f"test tiles: {line['event']} for {line['arm']} (attempt {line['attempt']}) at {line['at']}{why}")
    return lines


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
