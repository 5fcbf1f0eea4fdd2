"""Seconds and peak memory of turning a large study's W&B logs into frames, and these into the report, in one run.

    python benchmarks/report.py --out FOLDER [--runs 10000] [--epochs 60] [--to-the-end] [--report]

Writes a made-up study under FOLDER, unless one lies there: five architectures, learning curves from a simple formula,
a ladder like ASHA's that stops two of three trials at each rung (`--to-the-end`: none), three final models per arm with
their tiles' scores, and the openings of the test tiles. The files are such as W&B would write, without pictures. Then
reads it in a process of its own and prints a table; `--report` measures the whole report as well.
"""

import argparse
import json
import math
import random
import resource
import shutil
import subprocess
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record, SummaryRecord

from analysis.given import given_path
from analysis.logs.record_log import BLOCK_BYTES, CHUNK_HEADER, FILE_HEADER, FIRST, FULL, LAST, MIDDLE
from analysis.logs.wandb_files import read_logs

LEVELS = {"unet": 0.735, "unet_resnet34": 0.765, "deeplabv3plus_resnet34": 0.772, "sam_conv": 0.69, "sam_unet": 0.74}
"""The val IoU that an architecture tends to: those of the reference study, to look familiar."""

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


class RunFile:
    """A W&B file in the making; its records follow each other as W&B's own writer has them."""

    def __init__(self, run_id: str, job_type: str, config: Mapping[str, Any], start_seconds: int):
        self.run_id, self._num_rows, self._start = run_id, 0, start_seconds
        self._records: list[bytes] = []
        self._add(header={"version_info": {"producer": "0.31.0", "min_consumer": "0.70.0"}})
        run = Record()
        run.run.run_id, run.run.project, run.run.job_type = run_id, "fewtile", job_type
        run.run.start_time.seconds = start_seconds
        for key, value in {"_wandb": {}, **config}.items():
            run.run.config.update.add(key=key, value_json=json.dumps(value))
        self._add(run)

    def log(self, row: Mapping[str, Any]) -> None:
        """Adds a row of history, and before it the summary, which W&B updates with the same values."""
        times = {"_timestamp": self._start + self._num_rows + 0.25, "_runtime": self._num_rows + 0.25}
        record = Record()
        for key, value in {**row, **times, "_step": self._num_rows}.items():
            record.history.item.add(nested_key=[key], value_json=json.dumps(value))
        self._add(Record(summary=SummaryRecord.FromString(record.history.SerializeToString())))  # has the same fields
        record.history.step.num = self._num_rows
        self._add(record)
        self._num_rows += 1

    def write(self, out: Path) -> Path:
        """Ends the run, writes its file under `out/wandb/` and returns its path."""
        self._add(exit={"runtime": self._num_rows})
        path = out / "wandb" / f"offline-run-20261118_000000-{self.run_id}" / f"run-{self.run_id}.wandb"
        path.parent.mkdir(parents=True)
        path.write_bytes(join_records(self._records))
        return path

    def _add(self, record: Any = None, **fields: Any) -> None:
        record = record or Record(**fields)
        record.num = len(self._records) + 1
        self._records.append(record.SerializeToString())


def join_records(records: Sequence[bytes]) -> bytes:
    """Returns a W&B file with these records, as `analysis.logs.record_log` takes it apart."""
    data = bytearray(FILE_HEADER)
    for record in records:
        rest, is_first, is_last = record, True, False
        while not is_last:
            left = BLOCK_BYTES - len(data) % BLOCK_BYTES
            if left < CHUNK_HEADER.size:
                data += bytes(left)
                left = BLOCK_BYTES
            body, rest = rest[: left - CHUNK_HEADER.size], rest[left - CHUNK_HEADER.size :]
            is_last = not rest
            kind = (FULL if is_last else FIRST) if is_first else (LAST if is_last else MIDDLE)
            data += CHUNK_HEADER.pack(zlib.crc32(bytes([kind]) + body), len(body), kind) + body
            is_first = False
    return bytes(data)


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
    study = RunFile("study", "study", _study_config(name, arms, epochs, seed), START_SECONDS)
    rungs: dict[tuple[str, int], list[float]] = defaultdict(list)
    chosen: dict[str, dict[str, Any]] = {}
    for index in range(runs - len(arms) * NUM_SEEDS):
        about = arms[index % len(arms)]
        point = {"lr": 10 ** draw.uniform(-4, -2), "augmentation": draw.choice(PRESETS)}
        point |= {"decoder_dropout": draw.uniform(0, 0.5), "bce_weight": draw.uniform(0.1, 0.9)}
        curve = _curve(draw, about["architecture"], point, epochs)
        length = epochs if to_the_end else _stopped_after(rungs, about["arm"], curve)
        trial = {"study": name, "run_arm": about["arm"], "number": index // len(arms), "stage": "search"}
        row = _write_trial(out, draw, about, trial | {"point": point}, curve[:length])
        row["state"] = "finished" if length == epochs else "stopped"
        _log_under("trial", study, row)
        if length == epochs and row["judged"] > chosen.get(row["arm"], {"judged": 0})["judged"]:
            chosen[row["arm"]] = row | {"study": name, "point": point}
    for about in arms:
        best = chosen.get(about["arm"])
        if best is not None:
            kept = {key: best[key] for key in ("arm", "number", "signature", "judged", "best_epoch")}
            _log_under("selection", study, kept | {"val_iou": best["judged"], "val_f1": _f1(best["judged"])})
            _log_finals(out, draw, about, best, study, epochs)
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
    out: Path, draw: random.Random, about: Mapping[str, Any], trial: Mapping[str, Any], curve: Sequence[float]
) -> dict[str, Any]:
    """Writes the W&B run of a trial, and returns what the study's run says of it."""
    run_id = f"{draw.getrandbits(48):012x}"
    signature = f"{draw.getrandbits(64):016x}"
    config = {key: about[key] for key in ("arm", "architecture", "architecture_label", "tiles")}
    config |= {"study": trial["study"], "stage": trial["stage"], "run_arm": trial["run_arm"], "trial": trial["number"]}
    config |= {"profile": "full", "judged_metric": "val/iou", "signature": signature}
    config |= {"hyperparameters": trial["point"], "trial_config": {**trial["point"], "recipe": {"epochs": len(curve)}}}
    run = RunFile(run_id, "trial", config, START_SECONDS + 1 + draw.randrange(100_000))
    for epoch, iou in enumerate(curve, start=1):
        loss = draw.uniform(0.9, 1.1) / (1 + epoch / 5)
        row: dict[str, Any] = {"epoch": epoch, "lr": trial["point"]["lr"], "epoch_seconds": draw.uniform(20, 30)}
        row |= {"step_seconds": draw.uniform(0.1, 0.2), "peak_memory_gib": draw.uniform(4, 6), "micro_batch_size": 0}
        row |= {"train/loss": loss, "val/loss": 1.2 * loss, "val/iou": iou, "val/f1": _f1(iou), "val/collapsed": 0}
        run.log(row | {f"val/iou/{tile}": value for tile, value in _by_tile(draw, iou, VAL_TILES).items()})
    run.write(out)
    told = {"arm": about["arm"], "signature": signature, "state": "finished", "reason": "", "epochs": len(curve)}
    told |= {key: trial[key] for key in ("run_arm", "number", "stage")}
    told |= {"seconds": 25.0 * len(curve), "micro_batch_size": 0, "lost_epochs": 0, "lost_seconds": 0.0}
    return told | {"judged": max(curve), "best_epoch": curve.index(max(curve)) + 1}


def _log_finals(
    out: Path, draw: random.Random, about: Mapping[str, Any], chosen: Mapping[str, Any], study: RunFile, epochs: int
) -> None:
    """Writes the final models of an arm, and logs what they came to, and that the test tiles were opened for them."""
    arm, attempt = about["arm"], f"{draw.getrandbits(64):016x}"
    for number in range(NUM_SEEDS):
        curve = _curve(draw, about["architecture"], chosen["point"], epochs)
        run_arm = f"{arm}-confirmation-{chosen['signature'][:8]}"
        trial = {"run_arm": run_arm, "number": number, "stage": "final"}
        trial |= {key: chosen[key] for key in ("study", "point")}
        row = _write_trial(out, draw, about, trial, curve)
        _log_under("trial", study, row)
        model = {key: row[key] for key in ("arm", "number", "run_arm", "state", "signature", "best_epoch", "epochs")}
        model |= {"seconds": row["seconds"], "micro_batch_size": 0, "subset": 0, "seed": number, "attempt": attempt}
        model |= {"init_seed": draw.getrandbits(32), "draw_seed": draw.getrandbits(32), "subset_seed": 42}
        for split, tiles, iou in (("val", VAL_TILES, max(curve)), ("test", TEST_TILES, max(curve) + 0.02)):
            by_tile = _by_tile(draw, iou, tiles)
            model |= {f"{split}_iou": iou, f"{split}_f1": _f1(iou)}
            model |= {f"{split}_tiles": list(by_tile), f"{split}_tile_iou": list(by_tile.values())}
        _log_under("model", study, model)
    opening = {"arm": arm, "attempt": attempt, "event": "opened", "at": "2026-11-20T10:00:00", "tiles_digest": "0" * 64}
    _log_under("opening", study, opening | {"num_attempts": len(LEVELS), "num_studies": 1})


def _about(architecture: str, trials: int) -> dict[str, Any]:
    """What the study's run says of an arm."""
    names = {"arm": f"{architecture}-24", "architecture": architecture, "architecture_label": architecture, "tiles": 24}
    facts = {"is_stand_in": False, "track": "cnn", "weights": "none"}
    facts |= {"trials": trials, "num_trainable": 24_000_000, "num_frozen": 0}
    return {**names, **facts, "space": {name: str(values) for name, values in RANGES.items()}, "ranges": RANGES}


def _study_config(name: str, arms: list[dict[str, Any]], epochs: int, seed: int) -> dict[str, Any]:
    spec: dict[str, Any] = {"data": "made-up", "architectures": list(LEVELS), "weights": ["none"], "tiles": [24]}
    spec |= {"trials": arms[0]["trials"], "seeds": NUM_SEEDS, "subsets": 1, "seed": seed, "test": True, "small": False}
    spec |= {"sampler": "random", "vary": None, "epochs": epochs, "window_px": None, "val_center_px": None}
    spec |= {"chosen": {}, "grace_epochs": FIRST_RUNG, "reduction_factor": REDUCTION}
    about = {"study": name, "phase": "phase2_tuning", "profile": "full", "seed": seed, "judged_metric": "val/iou"}
    return about | {
        "spec": spec,
        "arms": arms,
        "trivial": {"class": "roof", "iou": 0.27, "f1": 0.43, "judged": 0.27},
        "val_tiles": VAL_TILES,
        "test_tiles": TEST_TILES,
        "groups": {tile: tile.partition("_")[0] for tile in VAL_TILES + TEST_TILES},
        "slots": {"count": 2, "cpus": 1, "gpus": 0.0},
        "num_train_tiles": 24,
        "versions": {"wandb": "0.31.0"},
    }


def _by_tile(draw: random.Random, iou: float, tiles: Sequence[str]) -> dict[str, float]:
    return {tile: min(1.0, max(0.0, iou + draw.gauss(0, 0.05))) for tile in tiles}


def _f1(iou: float) -> float:
    return 2 * iou / (1 + iou)


def _log_under(prefix: str, run: RunFile, row: Mapping[str, Any]) -> None:
    run.log({f"{prefix}/{key}": value for key, value in row.items()})


def _measure(step: str, out: Path) -> dict[str, float]:
    """Runs one step in this process, and returns what it took."""
    if step == "write_report":
        from analysis.report.write import write_report  # not needed to read, so it shall not count there
    started = time.perf_counter()
    counts = {}
    if step == "write_report":
        write_report([out], out / "report")
    else:
        logs = read_logs(out)
        counts = {"runs": len(logs.runs), "rows": len(logs.history)}
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "mib": _peak_mib(), **counts}


def _peak_mib() -> float:
    """The most memory that this process has had; `ru_maxrss` would count what its parent had when it started it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=given_path, required=True, help="folder of the made-up study")
    parser.add_argument("--runs", type=int, default=10_000, help="of trials")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--to-the-end", action="store_true", help="no trial is stopped early")
    parser.add_argument("--report", action="store_true", help="measure the whole report as well")
    parser.add_argument("--measure", choices=("read_logs", "write_report"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    out: Path = options.out
    if options.measure:
        print(json.dumps(_measure(options.measure, out)))
        return 0
    if options.runs < (fewest := len(LEVELS) * (NUM_SEEDS + 1)):
        parser.error(f"--runs is {options.runs}, but must be at least {fewest}: each arm has {NUM_SEEDS} final models")
    if not out.exists():
        part = out.with_name(f"{out.name}.part")
        shutil.rmtree(part, ignore_errors=True)  # of a run that was interrupted
        write_study(part, out.name, runs=options.runs, epochs=options.epochs, to_the_end=options.to_the_end)
        part.rename(out)
    size = sum(path.stat().st_size for path in out.glob("wandb/*/*.wandb"))
    print(f"{out}: {size / 2**20:.0f} MiB of W&B files\n")
    print("| step | seconds | with imports, CPU s | peak MiB | runs | rows |\n|---|---|---|---|---|---|")
    for step in ("read_logs", "write_report") if options.report else ("read_logs",):
        command = [sys.executable, __file__, "--out", str(out), "--measure", step]
        found = json.loads(subprocess.check_output(command, text=True).splitlines()[-1])
        print(
            f"| {step} | {found['seconds']:.1f} | {found['cpu']:.1f} | {found['mib']:.0f} | "
            f"{found.get('runs', '')} | {found.get('rows', '')} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
