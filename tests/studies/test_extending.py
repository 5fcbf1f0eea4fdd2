"""Adds an architecture and a data set to a copy of the project, each by one file and one row, and uses them.

What a study does with an architecture and its settings is the same for every row of the table: tests/studies.
"""

import json
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
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
            name="plain", track="cnn", build=from_module("trainables.models.plain:Plain"), stride=1, encoder=None,
            optimizer="adam", recipe={"loss": "dice", "augmentation": "NONE"},
            settings={"width": Setting(default=8, choices=(4, 8), what="channels")}, source="arXiv:0",
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


USE = """
import json, sys
from pathlib import Path

for name in [name for name in sys.modules if name.partition(".")[0] in ROOMS]:
    del sys.modules[name]  # those of the project, which the process was forked with

from searchspace.spaces import recipe_point, space_for, starting_points, trial_config
from studies.phases import run_phase
from trainables import prepare
from trainables.config import Recipe
from trainables.data.dataset import read_dataset
from trainables.data.decode import decode_train_val
from trainables.trial import fit

assert Path(prepare.__file__).is_relative_to(Path.cwd())
assert prepare.main(["squares", "--side", "24", "--dst", "tiles"]) == 0
flags = ["--data", "tiles", "--profile", "smoke", "--architectures", "plain", "--dry-run"]
sys.argv = ["phase2_tuning.py", *flags]
try:
    run_phase("phase2_tuning", "")
except SystemExit as end:
    assert not end.code, end.code

tiles = decode_train_val(read_dataset(Path("tiles")))
recipe = recipe_point("plain")
first, *others = starting_points(space_for("plain"), recipe, 9, seed=0)
config = trial_config("plain", recipe | others[0], tiles=2, recipe=Recipe(epochs=2, draws_per_epoch=4, window_px=32))
found = {"classes": tiles.info.classes, "iou": [record.metrics["val/iou"] for record in fit(config, tiles)]}
found |= {"loss": config.loss, "first": first, "widths": [point["width"] for point in others]}
print(json.dumps(found))
"""


def insert(path: Path, *pairs: tuple[str, str]) -> None:
    """Puts a text before the first place of another one."""
    content = path.read_text(encoding="utf-8")
    for before, text in pairs:
        assert before in content, (path.name, before)
        content = content.replace(before, text + before, 1)
    path.write_text(content, encoding="utf-8")


def test_an_architecture_and_a_data_set_are_a_file_and_a_row_each(start, tmp_path):
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room)  # with what was compiled
    models, datasets = tmp_path / "trainables" / "models", tmp_path / "trainables" / "datasets"
    (models / "plain.py").write_text(ARCHITECTURE.lstrip(), encoding="utf-8")
    (datasets / "squares.py").write_text(DATA_SET.lstrip(), encoding="utf-8")
    insert(models / "architectures.py", ('        Architecture(\n            name="unet",', ROW.lstrip("\n")))
    insert(
        datasets / "adapters.py",
        ("from trainables.datasets.sources.", "from trainables.datasets import squares\n"),
        ('    "deepglobe": ', '    "squares": squares.ADAPTER,\n'),
    )
    (tmp_path / "use.py").write_text(f"ROOMS = {ROOMS}\n{USE}", encoding="utf-8")
    told = start(tmp_path / "use.py").ends()
    assert "square" in told
    assert "plain-2" in told
    found = json.loads(told.splitlines()[-1])
    assert found["classes"] == ["background", "square"]
    assert len([iou for iou in found["iou"] if 0 <= iou <= 1]) == 2
    # A search starts from the row's recipe, and takes the row's settings among the others
    assert (found["loss"], found["first"]["augmentation"], found["first"]["width"]) == ("dice", "NONE", 8)
    assert set(found["widths"]) == {4, 8}
