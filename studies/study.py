"""A whole study: from a spec to a folder with the ledger, W&B logs, the selection and the report."""

import json
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from analysis.report import Report, write_report
from searchspace.spaces import readable, space_for
from studies import tracking
from studies.cli import PROVENANCE
from studies.coordinator import Coordinator, Progress
from studies.engine import evaluate_all, plan_slots, ray_session, run_trials
from studies.ledger import Ledger
from studies.progress import ProgressDisplay
from studies.resources import Slots
from studies.spec import Arm, StudySpec
from studies.worker import WorkerSettings, trial_folder
from trainables.architectures import ARCHITECTURES
from trainables.augment import left_out
from trainables.checkpoints import BEST, build_model
from trainables.dataset import decode_train_val, read_dataset
from trainables.demo import write_demo_tiles
from trainables.diagnostics import duration
from trainables.errors import UserError
from trainables.fit import check
from trainables.metrics import constant_scores
from trainables.tiles import TrainVal
from trainables.weights import KEYWORDS, digest, encoder_of, fetch_weights, weights_for

DEMO_TILES = Path("runs/demo-tiles")

LIBRARIES = ("ray", "optuna", "torch", "segmentation-models-pytorch", "timm", "albumentations", "wandb")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """What a study came to.

    Attributes:
        out: Its folder.
        complete: False when a signal ended it before its allowances were spent; nothing is selected then.
        unselected: Arms of which no trial ran its course, with the reason of their last trial.
        report: The tables; None where W&B is disabled or the study is not complete.
    """

    out: Path
    complete: bool
    unselected: dict[str, str]
    report: Report | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A spec that was checked against its tiles, with everything that starting it needs."""

    spec: StudySpec
    tiles: TrainVal
    digests: dict[str, str]
    provenance: dict[str, Any]


def run_study(spec: StudySpec, *, out: Path, console: Console) -> StudyResult:
    """Runs a study to its end.

    Args:
        spec: What to run.
        out: A folder that does not exist yet or is empty.
        console: Where progress is shown.

    Raises:
        UserError: The spec, the tiles or the folder do not allow it; nothing is written then.
    """
    out = out.resolve()
    _check_free(out)
    prepared = _prepare(spec, console)
    spec, tiles = prepared.spec, prepared.tiles
    started = time.monotonic()
    with ray_session(spec.address):
        slots = plan_slots(spec, max(max(mask.shape) for mask in tiles.train.masks))
        arms = spec.arms()
        _make(out)
        _write_text(out / "study.yaml", _study_yaml(prepared, slots))
        console.print(
            f"{out.name}: {len(arms)} arms × {spec.trials} trials of up to {spec.recipe.epochs} epochs; {slots}; "
            f"judged by {spec.judged_metric}",
            highlight=False,
        )
        ledger = Ledger(out / "optuna.db", {arm.name: arm.label(spec) for arm in arms})
        coordinator = Coordinator(spec, ledger, prepared.digests)
        log = tracking.Run(out, spec.wandb, name=out.name, job_type="study", config=_log_config(prepared, out.name))
        display = ProgressDisplay(coordinator, slots.count, console)
        settings = WorkerSettings(
            out=out,
            study=out.name,
            profile=spec.profile,
            wandb=spec.wandb,
            num_threads=slots.cpus,
            overlays_every=spec.overlays_every,
            device=slots.device,
        )
        try:
            complete = run_trials(
                coordinator,
                tiles,
                settings,
                slots,
                on_end=lambda progress: tracking.log_trial(log, progress),
                callbacks=[display],
            )
            display.close()
            for progress in coordinator.trials.values():
                if progress.outcome is None:
                    tracking.log_trial(log, progress)
            selected = {arm: best for arm in arms if (best := coordinator.selection(arm)) is not None}
            if complete:
                console.print(f"validating {len(selected)} selected models on whole tiles", highlight=False)
                failures = _finish_selection(selected, prepared, out, slots, log)
                for arm_name, reason in failures.items():
                    console.print(f"{arm_name}: its selected model could not be validated: {reason}", highlight=False)
        finally:
            display.close()
            log.finish()
            tracking.complete_files()
            ledger.close()
    console.print(f"done in {duration(time.monotonic() - started)}", highlight=False)
    unselected = {
        arm.name: coordinator.of_arm(arm)[-1].reason if coordinator.of_arm(arm) else "no trial started"
        for arm in arms
        if arm not in selected
    }
    report = write_report(out) if complete and spec.wandb != "disabled" else None
    return StudyResult(out=out, complete=complete, unselected=unselected, report=report)


def _prepare(spec: StudySpec, console: Console) -> _Prepared:
    """Checks all that can be checked before anything starts, cheapest first."""
    for name in ("architectures", "tiles"):
        values = getattr(spec, name) or ()
        if len(set(values)) < len(values):
            raise UserError(f"--{name} names one of {', '.join(map(str, values))} twice: name each once")
    spec, digests = _find_weights(spec)
    if spec.wandb == "online":
        tracking.check_online()
    if spec.data is None:
        console.print(f"no --data given: using built-in demo tiles in {DEMO_TILES}", highlight=False)
    root = Path(spec.data) if spec.data is not None else write_demo_tiles(DEMO_TILES)
    dataset = read_dataset(root)
    if spec.tiles is None:
        spec = spec.model_copy(update={"tiles": (len(dataset.train.tiles),)})
    tiles = decode_train_val(dataset)
    for arm in spec.arms():
        config = arm.config(spec, 0, {"lr": 1e-3}, digests)
        check(config, tiles)
        if config.weights != "none":
            build_model(config, tiles.info, [0.0] * len(tiles.info.bands), [1.0] * len(tiles.info.bands))
    if len(tiles.info.bands) != 3 or dataset.dtype != "uint8":
        names = ", ".join(left_out("EXTREME"))
        console.print(f"tiles are not 8-bit RGB: the presets do without {names}", highlight=False)
    provenance = {
        "tiles_digest": tiles.digest(),
        "num_train_tiles": len(tiles.train),
        "num_val_tiles": len(tiles.val),
        "weights_digests": digests,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
    }
    return _Prepared(spec=spec, tiles=tiles, digests=digests, provenance=provenance)


def _find_weights(spec: StudySpec) -> tuple[StudySpec, dict[str, str]]:
    """The spec with absolute paths of weights, since workers have other folders, and the digests by encoder."""
    known = {row.encoder for row in ARCHITECTURES.values() if row.encoder}
    for choice in spec.weights:
        if (encoder := encoder_of(choice)) and encoder not in known:
            raise UserError(f"--weights {choice} is for {encoder!r}, but must be for one of {', '.join(sorted(known))}")
    taken = {e: Arm(name, 0).weights(spec) for name in spec.architectures if (e := ARCHITECTURES[name].encoder)}
    for path in {choice for choice in spec.weights if encoder_of(choice) is None} - set(KEYWORDS):
        if path not in taken.values():
            names = ", ".join(spec.architectures)
            raise UserError(f"--weights {path} is taken by none of the architectures ({names}): leave it out")
        if len(takers := sorted(encoder for encoder, weights in taken.items() if weights == path)) > 1:
            raise UserError(
                f"--weights {path} is one file, but {' and '.join(takers)} need one each: write ENCODER=PATH"
            )
    for choice in spec.weights:
        if (encoder := encoder_of(choice)) and encoder not in taken:
            fetch_weights(
                weights_for(spec.weights, encoder), encoder
            )  # nobody needs it, but a slip is told all the same
    files = {encoder: fetch_weights(weights, encoder) for encoder, weights in taken.items()}
    absolute = {e: weights if weights in KEYWORDS else str(Path(weights).absolute()) for e, weights in taken.items()}
    found = tuple(f"{encoder}={weights}" for encoder, weights in absolute.items()) or ("none",)
    return (
        spec.model_copy(update={"weights": found}),
        {encoder: digest(path) for encoder, path in files.items() if path is not None},
    )


def _finish_selection(
    selected: dict[Arm, Progress], prepared: _Prepared, out: Path, slots: Slots, log: tracking.Run
) -> dict[str, str]:
    """Validates the selected checkpoints on whole tiles, logs them and writes selection.json; arms that failed."""
    results = evaluate_all(selected, prepared.tiles, out, slots)
    content = {}
    for arm, progress in selected.items():
        result, config = results[arm], progress.assignment.config
        row = {
            "number": progress.assignment.number,
            "signature": config.signature(),
            "judged": progress.best,
            "val_iou": result.get("val_iou"),
            "val_f1": result.get("val_f1"),
            "best_epoch": progress.best_epoch,
        }
        log.log({f"selection/{key}": value for key, value in ({"arm": arm.name} | row).items() if value is not None})
        if "error" not in result:
            log.log_pictures(f"selected/{arm.name}", result["pictures"], list(result["tile_iou"]))
        checkpoint = (trial_folder(out, arm.name, progress.assignment.number) / BEST).relative_to(out)
        content[arm.name] = row | {
            "architecture_label": arm.label(prepared.spec),
            "judged_metric": prepared.spec.judged_metric,
            "tile_iou": result.get("tile_iou"),
            "checkpoint": str(checkpoint),
            "config": config.model_dump(mode="json"),
        }
    _write_text(out / "selection.json", json.dumps(content, indent=2) + "\n")
    return {arm.name: result["error"] for arm, result in results.items() if "error" in result}


def _check_free(out: Path) -> None:
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"--out {out} exists and is not empty: choose another folder, or remove it")
    except OSError as error:
        raise UserError(f"--out {out} cannot be read ({error.strerror}): choose another folder") from error


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out} cannot be made ({error.strerror}): choose another folder") from error


def _study_yaml(prepared: _Prepared, slots: Slots) -> str:
    settings = yaml.safe_dump(prepared.spec.flat(), sort_keys=False)
    provenance = yaml.safe_dump({PROVENANCE: prepared.provenance | {"slots": str(slots)}}, sort_keys=False)
    return f"# What this study ran. Run it again with --config THIS_FILE --out OTHER_FOLDER.\n{settings}{provenance}"


def _log_config(prepared: _Prepared, name: str) -> dict[str, Any]:
    spec, tiles = prepared.spec, prepared.tiles
    num_classes, center = len(tiles.info.classes), spec.recipe.val_center_px
    label, trivial = constant_scores(tiles.val.masks, num_classes)
    judged = trivial if center is None else constant_scores(tiles.val.center_windows(center).masks, num_classes)[1]
    arms = [
        {
            "arm": arm.name,
            "architecture": arm.architecture,
            "architecture_label": arm.label(spec),
            "tiles": arm.tiles,
            "trials": spec.trials,
            "space": {key: readable(value) for key, value in space_for(arm.architecture).items()},
        }
        for arm in spec.arms()
    ]
    return {
        "study": name,
        "spec": spec.flat(),
        "profile": spec.profile,
        "seed": spec.seed,
        "judged_metric": spec.judged_metric,
        "arms": arms,
        "trivial": {
            "class": tiles.info.classes[label],
            "iou": trivial.iou,
            "f1": trivial.f1,
            "judged": judged.iou,
        },
        "val_tiles": list(tiles.val.ids),
        **prepared.provenance,
    }


def _write_text(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
