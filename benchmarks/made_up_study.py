"""Makes up the W&B files of a large study: five architectures, learning curves, a ladder, final models, openings.

Learning curves are from a simple formula, a ladder like ASHA's stops two of three trials at each rung, and each arm has
three final models with their tiles' scores. The files are such as W&B would write, without pictures.
"""

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.logs import rows
from analysis.logs.rows import EpochRow, ModelRow, OpeningRow, SelectionRow, TrialRow
from analysis.logs.run_configs import STUDY_JOB, TRIAL_JOB, ArmFacts, StudyRunConfig, TrialRunConfig
from benchmarks.run_file import RunFile

LEVELS = {"unet": 0.735, "unet_resnet34": 0.765, "deeplabv3plus_resnet34": 0.772, "sam_conv": 0.69, "sam_unet": 0.74}
"""The val IoU that an architecture tends to: those of the reference study, to look familiar."""

NETWORKS = {
    "unet": ("unet", ""),
    "unet_resnet34": ("unet", "resnet34"),
    "deeplabv3plus_resnet34": ("deeplabv3plus", "resnet34"),
    "sam_conv": ("sam_conv", "sam_vit_b"),
    "sam_unet": ("sam_unet", "sam_vit_b"),
}
"""The decoder and the encoder of an architecture."""

NUM_SEEDS = 3
VAL_TILES = [f"{place}_{number}" for place in ("north", "south", "west") for number in (1, 2)]
TEST_TILES = [f"{place}_{number}" for place in ("north", "south", "west") for number in (3, 4)]
FIRST_RUNG, REDUCTION = 8, 3
START_SECONDS = 1_795_000_000  # 2026-11-18
PRESETS = ["LIGHT", "MEDIUM", "HEAVY", "EXTREME"]
RANGES = {
    "lr": {"low": 1e-4, "high": 1e-2, "log": True},
    "augmentation": {"choices": PRESETS},
    "decoder_dropout": {"low": 0.0, "high": 0.5, "log": False},
    "bce_weight": {"low": 0.1, "high": 0.9, "log": False},
}
Point = dict[str, Any]
"""Hyperparameters by name."""


def write_study(out: Path, name: str, *, runs: int, epochs: int, to_the_end: bool = False, seed: int = 0) -> None:
    """Writes a made-up study.

    Args:
        out: Its folder.
        name: Its name.
        runs: W&B runs of trials, those of the final models included.
        epochs: That a trial has, unless the ladder stops it.
        to_the_end: Whether there is no ladder.
        seed: Everything is drawn from it.
    """
    draw = random.Random(seed)
    arms = [_about(architecture, runs // len(LEVELS) - NUM_SEEDS) for architecture in LEVELS]
    study = RunFile("study", STUDY_JOB, _study_config(name, arms, epochs, seed), START_SECONDS)
    rungs: dict[tuple[str, int], list[float]] = defaultdict(list)
    best: dict[str, tuple[TrialRow, Point]] = {}
    for index in range(runs - len(arms) * NUM_SEEDS):
        arm = arms[index % len(arms)]
        point: Point = {"lr": 10 ** draw.uniform(-4, -2), "augmentation": draw.choice(PRESETS)}
        point |= {"decoder_dropout": draw.uniform(0, 0.5), "bce_weight": draw.uniform(0.1, 0.9)}
        curve = _curve(draw, arm["architecture"], point, epochs)
        length = epochs if to_the_end else _stopped_after(rungs, arm["arm"], curve)
        row = _write_trial(out, draw, name, arm, arm["arm"], index // len(arms), "search", point, curve[:length])
        row["state"] = "finished" if length == epochs else "stopped"
        study.log(rows.TRIAL.to_history(row))
        if length == epochs and (arm["arm"] not in best or row["judged"] > best[arm["arm"]][0]["judged"]):
            best[arm["arm"]] = row, point
    for arm in arms:
        if arm["arm"] in best:
            row, point = best[arm["arm"]]
            iou = row["judged"]
            selection = SelectionRow(
                arm=row["arm"],
                number=row["number"],
                signature=row["signature"],
                judged=iou,
                best_epoch=row["best_epoch"],
                val_iou=iou,
                val_f1=_f1(iou),
            )
            study.log(rows.SELECTION.to_history(selection))
            _log_finals(out, draw, name, arm, row["signature"], point, study, epochs)
    study.write(out)


def _curve(draw: random.Random, architecture: str, point: Mapping[str, Any], epochs: int) -> list[float]:
    """The val IoU of each epoch: 1 − exp(−epoch / 8) of what the point can reach, with noise."""
    level = LEVELS[architecture] - 0.06 * (math.log10(point["lr"]) + 3) ** 2 - 0.1 * (point["bce_weight"] - 0.5) ** 2
    level += draw.gauss(0, 0.02)
    return [max(0.0, level * (1 - math.exp(-epoch / 8)) + draw.gauss(0, 0.01)) for epoch in range(1, epochs + 1)]


def _stopped_after(rungs: dict[tuple[str, int], list[float]], arm: str, curve: Sequence[float]) -> int:
    """The epoch at which a trial is stopped that is not in the best third of those that came to a rung before it."""
    rung = FIRST_RUNG
    while rung < len(curve):
        values, value = rungs[arm, rung], max(curve[:rung])
        values.append(value)
        if sorted(values, reverse=True).index(value) >= max(1, len(values) // REDUCTION):
            return rung
        rung *= REDUCTION
    return len(curve)


def _write_trial(
    out: Path,
    draw: random.Random,
    study: str,
    arm: ArmFacts,
    run_arm: str,
    number: int,
    stage: str,
    point: Point,
    curve: Sequence[float],
) -> TrialRow:
    """Writes the W&B run of a trial, and returns what the study's run says of it."""
    run_id = f"{draw.getrandbits(48):012x}"
    signature = f"{draw.getrandbits(64):016x}"
    config = TrialRunConfig(
        study=study,
        arm=arm["arm"],
        run_arm=run_arm,
        trial=number,
        stage=stage,
        architecture=arm["architecture"],
        architecture_label=arm["architecture_label"],
        tiles=arm["tiles"],
        profile="full",
        judged_metric="val/iou",
        signature=signature,
        hyperparameters=point,
        trial_config={**point, "recipe": {"epochs": len(curve)}},
    )
    run = RunFile(run_id, TRIAL_JOB, config, START_SECONDS + 1 + draw.randrange(100_000))
    for epoch, iou in enumerate(curve, start=1):
        loss = draw.uniform(0.9, 1.1) / (1 + epoch / 5)
        row = EpochRow(
            epoch=epoch,
            lr=point["lr"],
            epoch_seconds=draw.uniform(20, 30),
            step_seconds=draw.uniform(0.1, 0.2),
            peak_memory_gib=draw.uniform(4, 6),
            micro_batch_size=0,
        )
        metrics = {"train/loss": loss, "val/loss": 1.2 * loss, "val/iou": iou, "val/f1": _f1(iou), "val/collapsed": 0}
        by_tile = {f"val/iou/{tile}": value for tile, value in _by_tile(draw, iou, VAL_TILES).items()}
        run.log({**row, **metrics, **by_tile})
    run.write(out)
    return TrialRow(
        arm=arm["arm"],
        run_arm=run_arm,
        number=number,
        stage=stage,
        state="finished",
        reason="",
        signature=signature,
        epochs=len(curve),
        seconds=25.0 * len(curve),
        micro_batch_size=0,
        lost_epochs=0,
        lost_seconds=0.0,
        judged=max(curve),
        best_epoch=curve.index(max(curve)) + 1,
    )


def _log_finals(
    out: Path,
    draw: random.Random,
    study: str,
    arm: ArmFacts,
    selected: str,
    point: Point,
    log: RunFile,
    epochs: int,
) -> None:
    """Writes the final models of an arm, and logs what they came to, and that the test tiles were opened for them."""
    attempt = f"{draw.getrandbits(64):016x}"
    for number in range(NUM_SEEDS):
        curve = _curve(draw, arm["architecture"], point, epochs)
        run_arm = f"{arm['arm']}-confirmation-{selected[:8]}"
        trial = _write_trial(out, draw, study, arm, run_arm, number, "final", point, curve)
        log.log(rows.TRIAL.to_history(trial))
        val_iou, test_iou = max(curve), max(curve) + 0.02
        model = ModelRow(
            arm=trial["arm"],
            number=number,
            run_arm=run_arm,
            state=trial["state"],
            signature=trial["signature"],
            best_epoch=trial["best_epoch"],
            epochs=trial["epochs"],
            seconds=trial["seconds"],
            micro_batch_size=0,
            subset=0,
            seed=number,
            attempt=attempt,
            init_seed=draw.getrandbits(32),
            draw_seed=draw.getrandbits(32),
            subset_seed=42,
            val_iou=val_iou,
            val_f1=_f1(val_iou),
            val_tiles=VAL_TILES,
            val_tile_iou=list(_by_tile(draw, val_iou, VAL_TILES).values()),
            test_iou=test_iou,
            test_f1=_f1(test_iou),
            test_tiles=TEST_TILES,
            test_tile_iou=list(_by_tile(draw, test_iou, TEST_TILES).values()),
        )
        log.log(rows.MODEL.to_history(model))
    opening = OpeningRow(
        arm=arm["arm"],
        attempt=attempt,
        event="opened",
        at="2026-11-20T10:00:00",
        tiles_digest="0" * 64,
        num_attempts=len(LEVELS),
        num_studies=1,
    )
    log.log(rows.OPENING.to_history(opening))


def _about(architecture: str, trials: int) -> ArmFacts:
    """What the study's run says of an arm."""
    decoder, encoder = NETWORKS[architecture]
    return ArmFacts(
        arm=f"{architecture}-24",
        architecture=architecture,
        architecture_label=architecture,
        tiles=24,
        is_stand_in=False,
        track="cnn",
        weights="none",
        decoder=decoder,
        encoder=encoder,
        adaptation="frozen" if encoder == "sam_vit_b" else "scratch",
        trials=trials,
        num_trainable=24_000_000,
        num_frozen=0,
        space={name: str(values) for name, values in RANGES.items()},
        ranges=RANGES,
    )


def _study_config(name: str, arms: list[ArmFacts], epochs: int, seed: int) -> StudyRunConfig:
    spec: dict[str, Any] = {"data": "made-up", "architectures": list(LEVELS), "weights": ["none"], "tiles": [24]}
    spec |= {"trials": arms[0]["trials"], "seeds": NUM_SEEDS, "subsets": 1, "seed": seed, "test": True, "small": False}
    spec |= {"sampler": "random", "vary": None, "epochs": epochs, "window_px": None, "val_center_px": None}
    spec |= {"chosen": {}, "grace_epochs": FIRST_RUNG, "reduction_factor": REDUCTION}
    return StudyRunConfig(
        study=name,
        phase="phase2_tuning",
        profile="full",
        seed=seed,
        judged_metric="val/iou",
        spec=spec,
        arms=arms,
        trivial={"class": "roof", "iou": 0.27, "f1": 0.43, "judged": 0.27},
        val_tiles=VAL_TILES,
        test_tiles=TEST_TILES,
        groups={tile: tile.partition("_")[0] for tile in VAL_TILES + TEST_TILES},
        slots={"count": 2, "cpus": 1, "gpus": 0.0},
        num_train_tiles=24,
        versions={"wandb": "0.31.0"},
    )


def _by_tile(draw: random.Random, iou: float, tiles: Sequence[str]) -> dict[str, float]:
    return {tile: min(1.0, max(0.0, iou + draw.gauss(0, 0.05))) for tile in tiles}


def _f1(iou: float) -> float:
    return 2 * iou / (1 + iou)
