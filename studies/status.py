"""Shows what is done, running, stopped or failed in a study's folder, and why; also beside a running study.

python -m studies.status OUT
"""

import argparse
import functools
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from studies.files import folder, lock
from studies.seal.register import NAME
from studies.search.ledger_file import StoredTrial, read_trials
from studies.search.plans import Plan, Search, first_plan
from studies.settings.arms import RECIPE
from studies.spec import StudySpec
from trainables.common.command import Parser, run
from trainables.common.duration import duration
from trainables.common.errors import UserError
from trainables.common.splits import TEST, further_split

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
    if not folder.has_study(out):
        raise UserError(f"{out} holds no study (no {folder.STUDY} in it): give the folder of one that has begun")
    settings, provenance = folder.load_frozen(out)
    spec = StudySpec.from_flat(settings)
    trials = read_trials(out / folder.LEDGER, provenance["study_id"])

    say = functools.partial(console.print, soft_wrap=True, markup=False, emoji=False)  # reasons may have [brackets]
    plan = first_plan(spec, provenance["weights_digests"], provenance["num_train_tiles"])
    allowances = {arm.name: plan.allowance(arm) for arm in plan.arms}
    driver = lock.holder(out)
    starts = provenance["segments"]
    times = f", started {len(starts)} times" if len(starts) > 1 else ""
    state = f"running: {driver}" if driver else "complete" if _is_complete(out, spec, plan, trials) else "not running"
    say(f"{out.resolve().name}: {state}; began {starts[0]['began']}{times}; judged by {spec.judged_metric}")
    console.print(_table(spec, trials, allowances))
    for arm, found in trials.items():
        reasons = Counter(
            f"{t.attributes['outcome']}: {t.attributes['reason']}"
            for t in found
            if t.attributes.get("outcome") not in (None, "finished")
        )
        for reason, count in reasons.most_common(MOST_REASONS):
            say(f"{arm}: {count} × {reason}")
    for line in _openings(out):
        say(line)
    if driver is None and state != "complete":
        say(f"resume with --out {out} --resume")


def _table(spec: StudySpec, trials: dict[str, list[StoredTrial]], allowances: dict[str, int]) -> Table:
    """Open trials are #number·epoch; epochs that had to be repeated stand behind a plus."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=0)
    names = {arm: _short(arm) for arm in trials}
    table.add_column("arm", min_width=max(len(name) for name in names.values()), no_wrap=True)
    for column in ("done", "stopped", "failed", "open", "left", "best", "epochs", "time"):
        table.add_column(column, justify="right", overflow="fold")  # rather on two lines than cut off
    for arm in sorted(trials, key=_order(spec)):
        found = trials[arm]
        outcomes = Counter(t.attributes.get("outcome") if t.has_ended else "open" for t in found)
        best = _best(found)
        costs = [t.attributes.get("cost", {"seconds": 0.0, "lost": [0, 0.0]}) for t in found]
        lost = sum(cost["lost"][0] for cost in costs)
        allowance = allowances.get(arm, spec.seeds)
        table.add_row(
            names[arm],
            str(outcomes["finished"]),
            str(outcomes["stopped"]),
            str(outcomes["failed"] + outcomes["diverged"] + outcomes["out of memory"]),
            " ".join(f"#{t.number}·{max(t.best, default=0)}" for t in found if not t.has_ended) or "–",
            str(max(0, allowance - len(found))),
            f"{best.value:.3f} #{best.number}" if best else "–",
            str(sum(len(t.best) for t in found)) + (f" +{lost}" if lost else ""),
            duration(sum(cost["seconds"] for cost in costs)).replace(" min", "m").replace(" ", ""),
        )
    return table


def _short(arm: str) -> str:
    """The arm of a confirmation or a recipe stands below the one of the search, and is called by what it is."""
    _, is_confirmation, signature = arm.partition("-confirmation-")
    if arm.endswith(RECIPE):
        return "  recipe"
    return f"  retrained {signature[:6]}" if is_confirmation else arm


def _order(spec: StudySpec) -> Callable[[str], tuple[int, str]]:
    places = {arm.name: place for place, arm in enumerate(spec.arms())}
    return lambda arm: (places.get(arm.partition("-confirmation-")[0].removesuffix(RECIPE), len(places)), arm)


def _best(trials: Sequence[StoredTrial]) -> StoredTrial | None:
    """The best of those that ran their course; in a search, the one that is selected."""
    finished = [t for t in trials if t.state == "COMPLETE" and t.attributes["outcome"] == "finished"]
    finished = [t for t in finished if None not in t.best.values()]  # which none has of a final model without val
    return max(finished, key=lambda t: (t.value or 0.0, -t.number), default=None)


def _is_complete(out: Path, spec: StudySpec, plan: Plan, trials: dict[str, list[StoredTrial]]) -> bool:
    """Whether every allowance is spent and the results are written."""
    if not all(_is_spent(trials.get(arm.name, []), plan.allowance(arm)) for arm in plan.arms):
        return False
    finals = {arm.name: (arm.name, plan.allowance(arm)) for arm in plan.arms}
    if spec.has_search:
        selection = _read(out / "selection.json")
        if selection is None or _is_outdated(selection, plan, trials):
            return False
        names = {arm: f"{arm}-confirmation-{row['signature'][:8]}" for arm, row in selection.items()}
        beside = [f"{arm}{RECIPE}" for arm, row in selection.items() if spec.with_recipe and not row.get("is_recipe")]
        finals = {arm: (name, spec.seeds) for arm, name in (names | dict(zip(beside, beside, strict=True))).items()}
        finals = finals if spec.seeds else {}
    scored = _read(out / folder.MODELS) or {}
    for arm, (name, allowance) in finals.items():
        trained = trials.get(name, [])
        is_scored = len(scored.get(arm, {"models": ()})["models"]) >= allowance
        is_tested = not spec.test or _is_tested(scored.get(arm, {}))
        has_model = any(t.attributes.get("outcome") == "finished" for t in trained)
        if not (_is_spent(trained, allowance) and ((is_scored and is_tested) or not has_model)):
            return False
    return True


def _is_tested(row: dict[str, Any]) -> bool:
    """Whether an arm has a result on every test set."""
    return row.get("test_iou") is not None and None not in row.get("further", {}).values()


def _is_outdated(selection: dict[str, Any], plan: Plan, trials: dict[str, list[StoredTrial]]) -> bool:
    """Whether it was made of fewer trials: it does not name an arm that has a trial to select, or not the best one."""
    if isinstance(plan, Search):
        best = {arm.name: found.number for arm in plan.arms if (found := _best(trials[arm.name]))}
        return {arm: row["number"] for arm, row in selection.items()} != best
    return selection.keys() != {arm.name for arm in plan.arms if _best(trials[arm.name])}


def _is_spent(trials: Sequence[StoredTrial], allowance: int) -> bool:
    return len(trials) >= allowance and all(t.has_ended for t in trials)


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _openings(out: Path) -> list[str]:
    """The study's own openings of its test sets, a line each; a line that a crash cut off is left out."""
    paths = sorted(out.glob("seal*.jsonl"), key=lambda path: (path.name != NAME, path.name))
    texts = [text for path in paths for text in path.read_text(encoding="utf-8").splitlines()]
    lines = []
    for text in texts:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        why = f": {line['why']}" if line.get("why") else ""
        split = further_split(line["test_set"]) if "test_set" in line else TEST
        lines.append(
            f"{split} tiles: {line['event']} for {line['arm']} (attempt {line['attempt']}) at {line['at']}{why}"
        )
    return lines


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
