"""Writes a W&B file without W&B's own process, which would take a second for each of thousands of runs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record, SummaryRecord

from analysis.logs.record_log import join_records


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
