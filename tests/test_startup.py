"""What answers a person at once imports nothing that takes seconds: every command's --help, the status, a dry run."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from studies.command_line import make_spec
from studies.files import folder
from studies.search.coordinator import Coordinator
from studies.search.ledger import Ledger
from studies.search.plans import first_plan
from trainables.datasets.demo import write_demo_tiles

ROOT = Path(__file__).parents[1]

HEAVY = (
    *("torch", "torchvision", "timm", "segmentation_models_pytorch", "segment_anything", "albumentations"),
    *("safetensors", "ray", "optuna", "sqlalchemy", "wandb", "wandb_workspaces", "tensorboardX"),
    *("pandas", "matplotlib", "scipy"),
)

RUN = """
import contextlib, io, json, os, runpy, sys
os._exit = sys.exit
heavy, commands, found = json.loads(sys.argv[1]), json.loads(sys.argv[2]), []
for sys.argv in commands:
    with contextlib.redirect_stdout(io.StringIO()) as told:
        try:
            (runpy.run_path if sys.argv[0].endswith(".py") else runpy.run_module)(sys.argv[0], run_name="__main__")
        except SystemExit as end:
            found.append([end.code or 0, [name for name in heavy if name in sys.modules], told.getvalue()])
print(json.dumps(found))
"""
COMMANDS = (
    *(str(path) for path in sorted((ROOT / "studies").glob("phase*_*.py"))),
    *("studies.status", "trainables.fit", "trainables.prepare", "trainables.attention"),
    *("analysis.report", "analysis.dashboard", "analysis.attention"),
)


def run(cwd: Path, *commands: list[str]) -> list[list[Any]]:
    """Runs modules or scripts as a person would, in one process.

    Returns:
        Of each its exit code, what it and those before it imported of `HEAVY`, and what it printed.
    """
    variables = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(HEAVY), json.dumps(commands)],
        cwd=cwd,
        env=variables | {"PYTHONPATH": str(ROOT), "HOME": str(cwd)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found: list[list[Any]] = json.loads(done.stdout)
    assert len(found) == len(commands), done.stderr
    return found


def test_help_imports_nothing_heavy(tmp_path):
    for command, (code, imported, told) in zip(
        COMMANDS, run(tmp_path, *([command, "--help"] for command in COMMANDS)), strict=True
    ):
        assert (code, imported) == (0, []), command
        assert told.startswith("usage: "), command


def test_status_and_dry_runs_import_nothing_heavy(tmp_path):
    spec = make_spec({"profile": "smoke", "architectures": ["unet"], "tiles": [4]})
    ledger = Ledger(tmp_path / folder.LEDGER, {"unet-4": "unet"}, study_id="f00")
    assert Coordinator(spec, ledger, first_plan(spec, {}, 4)).next() is not None
    provenance: dict[str, Any] = {"study_id": "f00", "segments": [], "weights_digests": {}, "num_train_tiles": 4}
    folder.write_study(tmp_path, spec, provenance)
    (tmp_path / "composed").mkdir()
    write_demo_tiles(tmp_path / "tiles", size_px=128, num_train=2, num_val=1, num_test=1)
    flags = ["--dry-run", "--data", "tiles", "--profile", "smoke", "--test"]
    scripts = [str(ROOT / "studies" / f"{phase}.py") for phase in ("phase1_comparison", "phase2_tuning")]
    composed = make_spec({"profile": "smoke", "architectures": ["fpn:mobilenet_v2"], "tiles": [4]})  # looks nothing up
    Ledger(tmp_path / "composed" / folder.LEDGER, {"fpn:mobilenet_v2-4": "fpn"}, study_id="f00").close()
    folder.write_study(tmp_path / "composed", composed, provenance)
    states = [["studies.status", str(out)] for out in (tmp_path, tmp_path / "composed")]
    before = sorted(tmp_path.rglob("*"))
    found = run(tmp_path, *states, *([script, *flags] for script in scripts))
    for (code, imported, told), arm in zip(found, ("unet-4", "fpn:mobilenet_v2-4", "unet-2", "unet-2"), strict=True):
        assert (code, imported) == (0, [])
        assert arm in told
    assert sorted(tmp_path.rglob("*")) == before


def test_a_study_imports_torch_only_while_ray_starts():
    code = "import sys, studies.study; print([name for name in ('torch', 'albumentations') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
