"""What answers a person at once imports nothing that takes seconds: every command's --help, the status, a dry run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from studies.command_line import make_spec
from studies.files import folder
from studies.search.coordinator import Coordinator
from studies.search.ledger import Ledger
from studies.search.plans import first_plan
from trainables.datasets.demo import write_demo_tiles

ROOT = Path(__file__).parents[1]

HEAVY = (
    *(
        "torch",
        "torchvision",
        "timm",
        "segmentation_models_pytorch",
        "segment_anything",
        "albumentations",
        "safetensors",
    ),
    *("ray", "optuna", "sqlalchemy", "wandb", "wandb_workspaces", "tensorboardX"),
    *("pandas", "matplotlib", "scipy"),
)

RUN = """
import json, runpy, sys
heavy, command = json.loads(sys.argv[1]), sys.argv[2:]
sys.argv = command
try:
    (runpy.run_path if command[0].endswith(".py") else runpy.run_module)(command[0], run_name="__main__")
except SystemExit as end:
    print(json.dumps([end.code or 0, [name for name in heavy if name in sys.modules]]), file=sys.stderr)
"""


def run(cwd: Path, *command: str) -> tuple[int, list[str], str]:
    """Runs a module or script as a person would: its exit code, what it imported of `HEAVY`, and what it printed."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(HEAVY), *command],
        cwd=cwd,
        env=variables | {"PYTHONPATH": str(ROOT), "HOME": str(cwd)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    code, imported = json.loads(done.stderr)
    return code, imported, done.stdout


@pytest.mark.parametrize(
    "command",
    [
        *(str(path) for path in sorted((ROOT / "studies").glob("phase*_*.py"))),
        "studies.status",
        "trainables.fit",
        "trainables.prepare",
        "trainables.attention",
        "analysis.report",
        "analysis.dashboard",
        "analysis.attention",
    ],
    ids=lambda command: Path(command).stem if command.endswith(".py") else command,
)
def test_help_imports_nothing_heavy(command: str, tmp_path: Path) -> None:
    code, imported, output = run(tmp_path, command, "--help")
    assert (code, imported) == (0, [])
    assert output.startswith("usage: ")


def test_status_imports_nothing_heavy(tmp_path: Path) -> None:
    spec = make_spec({"profile": "smoke", "architectures": ["unet"], "tiles": [4]})
    ledger = Ledger(tmp_path / folder.LEDGER, {"unet-4": "unet"}, study_id="f00")
    assert Coordinator(spec, ledger, first_plan(spec, {}, 4)).next() is not None
    provenance = {"study_id": "f00", "segments": [], "weights_digests": {}, "num_train_tiles": 4}
    folder.write_study(tmp_path, spec, provenance)
    code, imported, output = run(tmp_path, "studies.status", str(tmp_path))
    assert (code, imported) == (0, [])
    assert "unet-4" in output


@pytest.mark.parametrize("phase", ["phase1_comparison", "phase2_tuning"])
def test_dry_run_imports_nothing_heavy(phase: str, tmp_path: Path) -> None:
    write_demo_tiles(tmp_path / "tiles", size_px=128, num_train=2, num_val=1, num_test=1)
    command = (str(ROOT / "studies" / f"{phase}.py"), "--dry-run", "--data", "tiles", "--profile", "smoke", "--test")
    code, imported, output = run(tmp_path, *command)
    assert (code, imported) == (0, [])
    assert "unet-2" in output
