"""One W&B run as it was logged, and how it is read from its file; the one module that knows W&B's records."""

import functools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandb.proto.wandb_internal_pb2 import Record

from analysis.logs.record_log import FILE_HEADER, split_records

if TYPE_CHECKING:
    from analysis.logs.epochs import Epochs

# The bytes of a record: its number (field 1), then what it is. A summary repeats the rows of the history.
_IS_SUMMARY = re.compile(rb"\x08[\x80-\xff]*[\x00-\x7f]\x1a").match
_IS_HISTORY = re.compile(rb"\x08[\x80-\xff]*[\x00-\x7f]\x12[\x80-\xff]*[\x00-\x7f]", re.DOTALL).fullmatch
_NUMBER = re.compile(rb"\n.\x12.([ -~]+)\x82\x01.([-+.0-9eENaInfity]+)", re.DOTALL)  # item: nested_key, value_json
_IS_STEP = re.compile(rb"(\x12(\x00|.\x08[\x80-\xff]*[\x00-\x7f]))?", re.DOTALL).fullmatch

_PARSER = json.JSONDecoder()
_decoded = functools.lru_cache(maxsize=4096)(bytes.decode)  # the same keys in each row


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """One W&B run, as far as its file can be read.

    Attributes:
        path: Its file; pictures lie in `files/` beside it.
        job_type: "study" or "trial".
        start: Seconds and nanoseconds since 1970.
        config: Its configuration, nested as logged.
        rows: Its history, one dictionary per logged step.
        ended: Whether its end is in the file.
        epochs: The numbers of its epochs, in place of `rows`, where there may be many.
    """

    path: Path
    job_type: str
    start: tuple[int, int]
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    ended: bool
    epochs: "Epochs | None" = None


def read_run(path: Path, notes: list[str]) -> LoggedRun | None:
    """Reads one file up to its tear.

    Args:
        path: A `.wandb` file.
        notes: What was odd about the file is added to them.

    Returns:
        The run; None where the file does not even say which run it is of.
    """
    name, data = f"{path.parent.name}/{path.name}", path.read_bytes()
    if not data.startswith(FILE_HEADER):
        notes.append(f"{name} ({len(data)} bytes) does not begin like a W&B file: it is left out.")
        return None
    payloads, torn_at = split_records(data)
    if torn_at is not None:
        notes.append(f"{name} is torn at byte {torn_at} of {len(data)}: it is read up to there.")
    head, ended = None, False
    config: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for payload in payloads:
        if _IS_SUMMARY(payload):
            continue
        if (numbers := _row_of_numbers(payload)) is not None:
            rows.append(numbers)
            continue
        record = Record.FromString(payload)
        match record.WhichOneof("record_type"):
            case "run":
                head = record.run
                _put(config, record.run.config.update)
            case "config":
                _put(config, record.config.update)
            case "history":
                rows.append(_put({}, record.history.item))
            case "exit":
                ended = True
    if head is None:
        notes.append(f"{name} ({len(data)} bytes) does not say which run it is of: it is left out.")
        return None
    start = (head.start_time.seconds, head.start_time.nanos)
    return LoggedRun(path=path, job_type=head.job_type, start=start, config=config, rows=rows, ended=ended)


def _row_of_numbers(payload: bytes) -> dict[str, float] | None:
    """Returns a row of history that holds nothing but numbers under plain keys; None for any other record.

    What `_put` would return, in a third of the time. A row is taken only if each of its bytes is accounted for.

    Source: https://protobuf.dev/programming-guides/encoding and `HistoryRecord` of W&B's wandb_internal.proto.
    """
    head, *parts = _NUMBER.split(payload)
    if not parts or any(parts[2:-1:3]) or not _IS_HISTORY(head) or not _IS_STEP(parts[-1]):
        return None
    values, _ = _PARSER.raw_decode(f"[{b','.join(parts[1::3]).decode()}]")
    return dict(zip(map(_decoded, parts[::3]), values, strict=True))


def _put(into: dict[str, Any], items: Iterable[Any]) -> dict[str, Any]:
    """Sets W&B's items, whose keys may be paths, in nested dictionaries, and returns these."""
    for item in items:
        *parents, last = item.nested_key or [item.key]
        inner = into
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = json.loads(item.value_json)
    return into
