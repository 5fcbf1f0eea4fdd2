"""Confirmation: the selected configurations retrained with new seeds, then tested once; all else never sees the test.

Each arm's opening of the test tiles is put on record before a pixel is read, and its result right after.
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from studies import tracking
from studies.coordinator import Coordinator
from studies.engine import evaluate_all
from studies.folder import write_json
from studies.ledger import Ledger
from studies.plans import Confirmation
from studies.resources import Slots
from studies.seal import Attempt, Seal
from studies.spec import Arm, StudySpec
from studies.trials import Progress
from studies.watch import Permit
from trainables.config import TrialConfig
from trainables.tiles import TrainVal

FILE = "confirmation.json"


def plan_confirmation(
    spec: StudySpec, ledger: Ledger, selected: Mapping[Arm, Progress]
) -> tuple[Coordinator, dict[Arm, Arm]]:
    """The coordinator of the confirmation, and the arm of each of the search's."""
    chosen: dict[Arm, TrialConfig] = {arm: progress.assignment.config for arm, progress in selected.items()}
    plan = Confirmation(spec, chosen)
    ledger.add_arms({arm.name: arm.label(spec) for arm in plan.arms})
    return Coordinator(spec, ledger, plan), dict(zip(chosen, plan.arms, strict=True))


def open_test_tiles(
    coordinator: Coordinator,
    arms: Mapping[Arm, Arm],
    tiles: TrainVal,
    seal: Seal,
    *,
    out: Path,
    slots: Slots,
    permit: Permit,
    reopen: str,
    log: tracking.Run,
    console: Console,
) -> dict[str, str]:
    """Tests every arm's retrained models, writes confirmation.json and the predictions.

    A signal that arrives while tiles are open takes effect after the result is on record.

    Args:
        coordinator: Of the confirmation, complete.
        arms: The confirmation's arm of each of the search's.
        tiles: Train and val tiles.
        seal: Of the test tiles.
        out: The study's folder.
        slots: The shape of an evaluation.
        permit: Its withdrawal ends the confirmation between arms.
        reopen: The reason to look again where an opening left no result; none if empty.
        log: The study's run.
        console: Where progress is shown.

    Returns:
        Arms that could not be tested, with the reason.

    Raises:
        UserError: An arm's attempt was opened before without a result, and there is no reason to look again.
    """
    finished = {
        arm: [p.assignment.number for p in coordinator.of_arm(confirmed) if p.outcome == "finished"]
        for arm, confirmed in arms.items()
    }
    val = evaluate_all({arms[arm]: numbers for arm, numbers in finished.items()}, tiles.val, tiles.info, out, slots)
    content: dict[str, Any] = {}
    untested: dict[str, str] = {}
    for arm, confirmed in arms.items():
        numbers = finished[arm]
        if not numbers:
            untested[arm.name] = coordinator.of_arm(confirmed)[-1].reason
            continue
        if permit.ending is not None:
            break
        attempt = Attempt(
            arm=arm.name,
            signatures=tuple(coordinator.trials[confirmed, n].assignment.config.signature() for n in numbers),
        )
        result = seal.recorded(attempt)
        if result is None:
            console.print(f"opening the test tiles for {arm.name} (attempt {attempt.id})", highlight=False)
            with permit.until_signal():
                result = _test(seal, attempt, confirmed, numbers, tiles, out, slots, reopen)
            if errors := [seed["error"] for seed in result["seeds"].values() if "error" in seed]:
                untested[arm.name] = f"{errors[0]}; the tiles count as opened, look again with --reopen WHY"
                continue
        content[arm.name] = _logged(coordinator, arm, confirmed, val, result, attempt, seal, log)
        write_json(out / FILE, content)
    return untested


def _test(
    seal: Seal,
    attempt: Attempt,
    confirmed: Arm,
    numbers: Sequence[int],
    tiles: TrainVal,
    out: Path,
    slots: Slots,
    reopen: str,
) -> dict[str, Any]:
    """Opens the test tiles, puts the result on record if all models could be scored, and keeps the predictions."""
    test = seal.open(attempt, reopen=reopen)
    results = evaluate_all({confirmed: numbers}, test, tiles.info, out, slots)
    seeds = {  # by signature: another study may number them otherwise
        signature: {key: found[key] for key in ("error", "iou", "f1", "tile_iou") if key in found}
        for signature, found in zip(attempt.signatures, (results[confirmed, n] for n in numbers), strict=True)
    }
    if not any("error" in seed for seed in seeds.values()):
        seal.record(attempt, {"seeds": seeds})
    for number in numbers:  # after the record: pictures may not fit on the disk
        folder, found = out / "predictions" / "test" / attempt.arm / f"seed-{number}", results[confirmed, number]
        if "error" not in found:
            _save(folder, dict(zip(test.ids, found["predictions"], strict=True)), ".png")
            _save(folder, dict(zip(test.ids, found["pictures"], strict=True)), "_beside.jpg")
    return {"seeds": seeds}


def _save(folder: Path, pictures: Mapping[str, NDArray[np.uint8]], ending: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for tile_id, picture in pictures.items():
        Image.fromarray(picture).save(folder / f"{tile_id}{ending}")


def _logged(
    coordinator: Coordinator,
    arm: Arm,
    confirmed: Arm,
    val: Mapping[tuple[Arm, int], dict[str, Any]],
    result: dict[str, Any],
    attempt: Attempt,
    seal: Seal,
    log: tracking.Run,
) -> dict[str, Any]:
    """Logs an arm's test scores and who opened the tiles; what confirmation.json says of the arm."""
    rows = []
    for progress in coordinator.of_arm(confirmed):
        number, config = progress.assignment.number, progress.assignment.config
        test, on_val = result["seeds"].get(config.signature(), {}), val.get((confirmed, number), {})
        rows.append(
            {
                "arm": arm.name,
                "number": number,
                "state": progress.outcome,
                "init_seed": config.init_seed,
                "draw_seed": config.recipe.draw_seed,
                "signature": config.signature(),
                "best_epoch": progress.best_epoch,
                "micro_batch_size": progress.micro_batch_size,
                "val_iou": on_val.get("iou"),
                "val_f1": on_val.get("f1"),
                "test_iou": test.get("iou"),
                "test_f1": test.get("f1"),
                "attempt": attempt.id,
            }
        )
        tracking.log_confirmation(log, rows[-1])
        rows[-1]["test_tile_iou"] = test.get("tile_iou")
    history, line = seal.history(), seal.opening(attempt)
    reasons = [why for opened, why in history.reopened if opened == attempt.id]
    opening = {
        "arm": arm.name,
        "attempt": attempt.id,
        "event": "opened" if seal.is_own(line) else "recorded",
        "at": line["at"],
        "tiles_digest": line["tiles_digest"],
        "num_attempts": history.num_attempts,
        "num_studies": history.num_studies,
    }
    tracking.log_opening(log, opening)
    if reasons:
        tracking.log_opening(log, opening | {"event": "reopened", "why": "; ".join(reasons)})
    scores = [row["test_iou"] for row in rows if row["test_iou"] is not None]
    return {
        "opening": opening | {"reopened": reasons},
        "test_iou": statistics.fmean(scores) if scores else None,
        "seeds": [{key: value for key, value in row.items() if key != "arm"} for row in rows],
    }
