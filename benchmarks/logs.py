"""The W&B files of a large study, read and tabulated: beside a data frame per run, as tutorials have it."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
from wandb.proto.wandb_internal_pb2 import Record

from analysis.logs.record_log import split_records
from analysis.logs.wandb_files import read_logs
from benchmarks.made_up_study import write_study
from benchmarks.table import Row, Spread

NUM_RUNS, EPOCHS = 10_000, 60
VALUE = "val/iou"


def rows(num_runs: int = NUM_RUNS) -> Iterator[Row]:
    """Seconds until the mean curve and the best value of each arm are known."""
    with tempfile.TemporaryDirectory(prefix="fewtile-bench-") as folder:
        out = Path(folder) / "study"
        write_study(out, "study", runs=num_runs, epochs=EPOCHS)
        ours, own_seconds = _timed(_ours, out)
        theirs, their_seconds = _timed(_naive, out)
    pd.testing.assert_frame_equal(ours, theirs)
    yield Row(
        what=f"{num_runs} runs of up to {EPOCHS} epochs, read and tabulated",
        unit="s",
        ours=Spread.of([own_seconds]),
        peer="a data frame per run",
        theirs=Spread.of([their_seconds]),
    )


def _ours(out: Path) -> pd.DataFrame:
    return _table(read_logs(out).history)


def _naive(out: Path) -> pd.DataFrame:
    """Each record is parsed, each run is a data frame, and all are joined; files are split as Fewtile splits them."""
    frames = []
    for path in sorted(out.glob("wandb/*run-*/run-*.wandb")):
        config, history = {}, []
        for payload in split_records(path.read_bytes())[0]:
            record = Record.FromString(payload)
            if record.HasField("run"):
                config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
            elif record.HasField("history"):
                items = record.history.item
                history.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
        if "arm" in config:  # a trial's
            frames.append(pd.DataFrame(history).assign(arm=config["arm"]))
    return _table(pd.concat(frames, ignore_index=True))


def _table(history: pd.DataFrame) -> pd.DataFrame:
    """Of each arm and epoch, the number of runs, and the mean and the best of their values."""
    return history.groupby(["arm", "epoch"])[VALUE].agg(["count", "mean", "max"])


def _timed(read: Callable[[Path], pd.DataFrame], out: Path) -> tuple[pd.DataFrame, float]:
    started = time.perf_counter()
    table = read(out)
    return table, time.perf_counter() - started
