"""What several tests of studies use.

A small folder of demo tiles, whose test tiles have headers and no pixels, so that decoding them fails; a finished phase
2 as its files tell; and what a phase says to what it refuses.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studies.command_line import make_spec
from studies.folder import write_study
from studies.phases import run_phase
from studies.profiles import PhaseName
from trainables.common.command import EXIT_USER_ERROR, run
from trainables.config import TrialConfig
from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_train_val
from trainables.data.tiles import TrainVal
from trainables.datasets.demo import write_demo_tiles


@pytest.fixture(scope="session")
def dataset_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "tiles"
    write_demo_tiles(root, size_px=128, num_train=4, num_val=2, num_test=1)
    for path in (root / "test").rglob("*.jpg"):
        content = path.read_bytes()
        path.write_bytes(content[: content.index(b"\xff\xda") + 40])  # cut after the start of the scan
        with Image.open(path) as image, pytest.raises(OSError, match="truncated"):
            image.load()
    return root


@pytest.fixture(scope="session")
def tiles(dataset_root: Path) -> TrainVal:
    return decode_train_val(read_dataset(dataset_root))


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What a phase's script says to flags that it refuses: one line, without the word error."""

    def refusal_of(phase: PhaseName, *flags: str) -> str:
        monkeypatch.setattr(sys, "argv", [f"{phase}.py", *flags])
        with pytest.raises(SystemExit) as end:
            run(lambda: run_phase(phase, ""))
        assert end.value.code == EXIT_USER_ERROR
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        return error.removeprefix("error: ").rstrip()

    return refusal_of


@pytest.fixture
def write_tuned() -> Callable[..., dict[str, Any]]:
    """Writes the files of a finished phase 2 that another study can take its choices from."""

    def write(out: Path, lr: dict[str, float], **settings: Any) -> dict[str, Any]:
        """`lr` has the chosen learning rate of each arm, such as `unet-24`; returns selection.json's content."""
        names = list(dict.fromkeys(arm.rpartition("-")[0] for arm in lr))
        spec = make_spec({"profile": "smoke", "architectures": names, "data": "tiles"} | settings)
        out.mkdir()
        write_study(out, spec, {"study_id": "f00", "tiles_digest": "d16e57", "segments": []})
        selection = {}
        for number, (arm, rate) in enumerate(lr.items()):
            name, _, tiles = arm.rpartition("-")
            config = TrialConfig(architecture=name, tiles=int(tiles), lr=rate, augmentation="HEAVY", recipe=spec.recipe)
            selection[arm] = {
                "number": number,
                "signature": config.signature(),
                "val_iou": 0.5,
                "config": config.model_dump(mode="json"),
            }
        (out / "selection.json").write_text(json.dumps(selection), encoding="utf-8")
        return selection

    return write
