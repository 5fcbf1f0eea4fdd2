"""Adds an architecture and a data set to a copy of the project, each by one file and one row, and runs a study."""

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.chaos.forked import DriverServer

ROOT = Path(__file__).parents[1]
ROOMS = ("trainables", "searchspace", "studies", "analysis")

ARCHITECTURE = '''
"""Two convolutions, to see that an architecture is a file and a row."""

from torch import nn

from trainables.models.spec import ModelSpec


class Plain(nn.Module):
    """An encoder and a decoder of a layer each, as wide as its setting says."""

    def __init__(self, spec: ModelSpec):
        super().__init__()
        width = spec.settings["width"]
        self.encoder = nn.Sequential(nn.Conv2d(spec.num_bands, width, 3, padding=1), nn.ReLU())
        self.decoder = nn.Sequential(nn.Dropout2d(spec.decoder_dropout), nn.Conv2d(width, spec.num_outputs, 1))

    def forward(self, x):
        """(N, C, H, W) to logits (N, K, H, W)."""
        return self.decoder(self.encoder(x))
'''

ROW = """
        Architecture(
            name="plain", track="cnn", build=_by_name("trainables.models.plain:Plain"), stride=1, encoder=None,
            optimizer="adam", recipe={"loss": "dice", "augmentation": "NONE"},
            settings={"width": Setting(default=8, choices=(4, 8), what="channels")}, gpu_gib=0.1, source="arXiv:0",
        ),
"""

DATA_SET = '''
"""Bright squares, to see that a data set is a file and a row."""

import numpy as np

from trainables.datasets.sources.plan import Adapter, Plan, SourceTile
from trainables.data.tiles import DatasetInfo


def plan_squares(*, side: int) -> Plan:
    """Six tiles with a square of that side (px) each."""

    def mask(number):
        found = np.zeros((64, 64), np.uint8)
        found[8 * number : 8 * number + side, 8 : 8 + side] = 1
        return found

    tiles = [
        SourceTile(
            id=f"square-{number}", split=split, suffix=".png", group=f"place-{number % 2}",
            load_image=lambda n=number: np.repeat(60 + 150 * mask(n)[..., None], 3, axis=2),
            load_mask=lambda n=number: mask(n),
        )
        for number, split in enumerate(("train", "train", "val", "val", "test", "test"))
    ]
    return Plan(tiles=tuple(tiles), info=DatasetInfo(classes=("background", "square"), source=f"squares of {side} px"))


ADAPTER = Adapter(
    about="squares", add_flags=lambda parser: parser.add_argument("--side", type=int, default=16), plan=plan_squares
)
'''


def insert(path: Path, *pairs: tuple[str, str]) -> None:
    """Puts a text before the first place of another one."""
    content = path.read_text(encoding="utf-8")
    for before, text in pairs:
        assert before in content, (path.name, before)
        content = content.replace(before, text + before, 1)
    path.write_text(content, encoding="utf-8")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project's rooms elsewhere, with nothing added yet."""
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / "project" / room, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "project"


@pytest.mark.faults
def test_an_architecture_and_a_data_set_are_a_file_and_a_row_each(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models, datasets = copy / "trainables" / "models", copy / "trainables" / "datasets"
    (models / "plain.py").write_text(ARCHITECTURE.lstrip(), encoding="utf-8")
    (datasets / "squares.py").write_text(DATA_SET.lstrip(), encoding="utf-8")
    insert(models / "architectures.py", ('        Architecture(\n            name="unet",', ROW.lstrip("\n")))
    insert(
        datasets / "adapters.py",
        ("from trainables.datasets.sources.", "from trainables.datasets import squares\n"),
        ('    "deepglobe": ', '    "squares": squares.ADAPTER,\n'),
    )
    changed = {path.relative_to(copy / "trainables").as_posix() for path in copy.rglob("*.py") if differs(path, copy)}
    assert changed == {"models/plain.py", "models/architectures.py", "datasets/squares.py", "datasets/adapters.py"}

    monkeypatch.setenv("PYTHONPATH", str(copy))  # which must win over the installed project
    monkeypatch.setenv("XDG_DATA_HOME", str(copy / "user"))
    flags = ["--data", "tiles", "--profile", "smoke", "--window-px", "32", "--seeds", "1"]
    flags += ["--architectures", "plain", "--out", "runs/plain", "--cpus-per-trial", str(os.cpu_count())]
    with DriverServer() as drivers:

        def run(script: str, *flags: str) -> str:
            return drivers.start(copy / script, *flags, cwd=copy, output=copy / "log").ends()

        assert "square" in run("trainables/prepare.py", "squares", "--side", "24", "--dst", "tiles")
        run("studies/phase2_tuning.py", *flags)
    tables = copy / "runs" / "plain" / "report" / "tables"
    by_architecture = pd.read_csv(tables / "iou_by_architecture.csv").set_index("architecture")
    assert by_architecture.loc["plain", "val_iou"] >= 0
    assert "square" in list(pd.read_csv(tables / "scores_by_class.csv")["class"])
    trials = pd.read_csv(tables / "trials.csv")
    its = trials[(trials["architecture"] == "plain") & (trials["stage"] == "search")].sort_values("number")
    # The search starts from the row's recipe, and takes the row's settings among the others
    first = its.iloc[0]
    assert (first["hyperparameters/augmentation"], first["hyperparameters/loss"]) == ("NONE", "dice")
    assert first["hyperparameters/width"] == 8
    assert set(its["hyperparameters/width"]) <= {4, 8}


def differs(path: Path, copy: Path) -> bool:
    original = ROOT / path.relative_to(copy)
    return not original.exists() or original.read_bytes() != path.read_bytes()
