"""Curves for TensorBoard: files that it can read, with the epochs that count where a trial was resumed."""

import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from studies.logs.tensorboard import Curves
from trainables.records import EpochRecord


def record(epoch: int, iou: float) -> EpochRecord:
    metrics = {"train/loss": 1.0 - iou, "val/iou": iou}
    return EpochRecord(epoch=epoch, metrics=metrics, lr=0.125, judged=iou, best=iou, best_epoch=epoch)


def events(path: Path) -> list[Event]:
    """TFRecords: length (8 bytes), its checksum (4), content, its checksum (4)."""
    data, found, start = path.read_bytes(), [], 0
    while start < len(data):
        (length,) = struct.unpack_from("<Q", data, start)
        found.append(Event.FromString(data[start + 12 : start + 12 + length]))
        start += 12 + length + 4
    assert start == len(data), "the file ends in the middle of a record"
    return found


def shown(folder: Path) -> dict[str, dict[int, float]]:
    """By metric and epoch what TensorBoard shows: a session's start hides what earlier files have from its step on."""
    curves: dict[str, dict[int, float]] = {}
    for path in sorted(folder.iterdir()):
        for event in events(path):
            if event.session_log.status == SessionLog.START:
                curves = {
                    name: {step: value for step, value in points.items() if step < event.step}
                    for name, points in curves.items()
                }
            for value in event.summary.value:
                curves.setdefault(value.tag, {})[event.step] = value.simple_value
    return curves


def test_every_metric_is_a_curve_over_epochs(tmp_path):
    curves = Curves(tmp_path, "unet-24", 7, 0)
    for epoch, iou in ((1, 0.25), (2, 0.5)):
        curves.log(record(epoch, iou))
    curves.close()
    (path,) = (tmp_path / "tensorboard" / "unet-24" / "0007").iterdir()
    assert path.name.startswith("events.out.tfevents.")
    assert events(path)[0].file_version == "brain.Event:2"  # the version that knows sessions
    assert shown(path.parent) == {
        "lr": {1: 0.125, 2: 0.125},
        "train/loss": {1: 0.75, 2: 0.5},
        "val/iou": {1: 0.25, 2: 0.5},
    }


@pytest.mark.parametrize("goes_on_from", [0, 1, 2, 3])
def test_resumed_trial_hides_what_it_repeats(tmp_path, goes_on_from):
    folder = tmp_path / "tensorboard" / "unet-24" / "0000"
    before = Curves(tmp_path, "unet-24", 0, 0)
    for epoch in (1, 2, 3):
        before.log(record(epoch, 0.25))
    before.close()
    (path,) = folder.iterdir()
    path.rename(folder / "events.out.tfevents.1000000000.here")  # resumed in another second than it began
    after = Curves(tmp_path, "unet-24", 0, goes_on_from)
    after.log(record(goes_on_from + 1, 0.5))
    after.close()
    kept = dict.fromkeys(range(1, goes_on_from + 1), 0.25)
    assert shown(folder)["val/iou"] == kept | {goes_on_from + 1: 0.5}
    assert len(list(folder.iterdir())) == 2
