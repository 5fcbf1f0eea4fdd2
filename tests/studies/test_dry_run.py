"""What a dry run says of a machine of two cores, or of such a cluster; and that it leaves nothing behind."""

import contextlib
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from studies import command_line as cli
from studies import dry_run
from studies.backend import cluster
from studies.backend.slots import Node, fit_slots
from studies.phases import run_phase
from studies.profiles import PhaseName
from trainables.common.errors import UserError
from trainables.datasets.demo import write_demo_tiles

PHASE_1: PhaseName = "phase1_comparison"
PHASE_2: PhaseName = "phase2_tuning"
PHASE_3: PhaseName = "phase3_data_budget"


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The addresses that Ray was asked for."""
    asked: list[str | None] = []

    @contextlib.contextmanager
    def session(address: str | None) -> Iterator[None]:
        asked.append(address)
        yield

    monkeypatch.setattr(dry_run, "this_machine", lambda: Node(cpus=2))
    monkeypatch.setattr(cluster, "ray_session", session)
    monkeypatch.setattr(cluster, "ray_slots", lambda spec, *sides: fit_slots(spec, [Node(cpus=2)], *sides))
    return asked


ROW = re.compile(
    r"^ (?P<arm>\w+-\d+)( \(.*\))? +(?P<search>\d+) +(?P<final>\d+) +(?P<epochs>\d+) *$",
    re.MULTILINE,
)


def planned(phase: PhaseName, out: Path, *flags: str) -> tuple[dict[str, tuple[int, int, int]], str]:
    """Searched trials, final models and epochs by arm; and the whole text."""
    request = cli.read_command_line(["--out", str(out), "--dry-run", *flags], phase=phase, description="")
    assert request.out is not None
    console = Console(width=200, record=True, file=io.StringIO())
    dry_run.show_plan(request.spec, request.out, console)
    text = console.export_text()
    rows = {row["arm"]: (int(row["search"]), int(row["final"]), int(row["epochs"])) for row in ROW.finditer(text)}
    return rows, text


SMALL = ["--profile", "smoke", "--architectures", "unet", "sam_conv", "--trials", "4", "--epochs", "3"]


def test_tuning_counts_search_and_confirmation(dataset_root: Path, tmp_path: Path) -> None:
    flags = ["--data", str(dataset_root), *SMALL, "--seeds", "2"]
    rows, text = planned(PHASE_2, tmp_path / "study", *flags)
    assert rows == {"unet-4": (4, 2, 18), "sam_conv-4": (4, 2, 18)}
    assert "36 epochs at most, each of 8 draws; 2 trials at a time, each on 1 core" in text
    assert f"tiles: {dataset_root} (4 train, 2 val, 1 test, which stay sealed)" in text
    assert "judged by val/iou_center128; seed 42" in text
    assert f"on this machine; would write {tmp_path / 'study'}; W&B offline" in text
    assert "(base width 16)" in text  # a smaller variant never passes for the real thing
    assert list(tmp_path.iterdir()) == []


def test_search_alone_and_a_grid_are_told_apart(dataset_root: Path, tmp_path: Path) -> None:
    flags = ["--data", str(dataset_root), *SMALL]
    rows, _ = planned(PHASE_2, tmp_path / "study", *flags, "--seeds", "0")
    assert rows["unet-4"] == (4, 0, 12)
    grid = ["--data", str(dataset_root), "--profile", "smoke", "--epochs", "3", "--seeds", "2"]
    rows, _ = planned(PHASE_2, tmp_path / "study", *grid, "--vary", "decoder_dropout")
    assert rows["unet-4"] == (8, 2, 30)


@pytest.fixture
def whole_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of which the test tile is whole, too."""
    root = tmp_path_factory.mktemp("whole") / "tiles"
    write_demo_tiles(root, size_px=128, num_train=4, num_val=1, num_test=1)
    return root


def test_damaged_test_tiles_are_told_before_hours_are_spent(dataset_root: Path, tmp_path: Path) -> None:
    flags = ["--data", str(dataset_root), *SMALL, "--seeds", "1"]
    planned(PHASE_2, tmp_path / "study", *flags)
    with pytest.raises(UserError, match=r"/test/images/\w+\.jpg is damaged or truncated: replace it$"):
        planned(PHASE_2, tmp_path / "study", *flags, "--test")
    assert not (dataset_root / "seal.jsonl").exists()


def test_comparison_has_final_models_only(whole_root: Path, tmp_path: Path) -> None:
    flags = ["--data", str(whole_root), "--profile", "smoke", "--seeds", "3", "--test"]
    rows, text = planned(PHASE_1, tmp_path / "study", *flags)
    assert set(rows) == {f"{name}-4" for name in cli.make_spec({"profile": "smoke"}).architectures}
    assert set(rows.values()) == {(0, 3, 6)}
    assert "1 test, opened once for each arm)" in text
    assert not (whole_root / "seal.jsonl").exists()
    assert list(tmp_path.iterdir()) == []


def test_budgets_are_those_that_there_are_tiles_for(
    dataset_root: Path, tmp_path: Path, write_tuned: Callable[..., dict[str, Any]]
) -> None:
    tuned = tmp_path / "phase2"
    write_tuned(tuned, {"unet-4": 1e-3}, data=str(dataset_root))
    rows, _ = planned(PHASE_3, tmp_path / "study", "--from", str(tuned), "--subsets", "3", "--seeds", "2")
    assert rows == {"unet-4": (0, 2, 4)}  # 5, 12 and 24 are more than there are
    rows, _ = planned(
        PHASE_3, tmp_path / "study", "--from", str(tuned), "--subsets", "3", "--seeds", "2", "--tiles", "2", "4"
    )
    assert rows == {"unet-2": (0, 6, 12), "unet-4": (0, 2, 4)}
    many = tmp_path / "many"
    write_demo_tiles(many, size_px=128, num_train=13, num_val=1, num_test=1)
    rows, _ = planned(PHASE_3, tmp_path / "study", "--from", str(tuned), "--data", str(many), "--seeds", "1")
    assert list(rows) == ["unet-5", "unet-12", "unet-13"]


def test_cluster_is_asked_and_named(dataset_root: Path, tmp_path: Path, two_cores: list[str | None]) -> None:
    flags = ["--data", str(dataset_root), *SMALL, "--address", "head:6379"]
    assert "on head:6379; would write" in planned(PHASE_2, tmp_path / "study", *flags)[1]
    assert two_cores == ["head:6379"]


def test_ray_is_not_asked_of_this_machine(dataset_root: Path, tmp_path: Path, two_cores: list[str | None]) -> None:
    planned(PHASE_2, tmp_path / "study", "--data", str(dataset_root), *SMALL)
    assert two_cores == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--tiles", "99"], "--tiles 99 asks for 99 train tiles"),
        (["--cpus-per-trial", "3"], "--cpus-per-trial is 3, but there are 2 cores"),
        (["--weights", "nowhere.pth"], "is no file"),
    ],
)
def test_what_a_start_would_refuse_is_refused(flags: list[str], words: str, dataset_root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        planned(PHASE_2, tmp_path / "study", "--data", str(dataset_root), "--profile", "smoke", *flags)


def test_folder_that_holds_something_is_refused(dataset_root: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(UserError, match="exists and is not empty"):
        planned(PHASE_2, tmp_path, "--data", str(dataset_root), *SMALL)


def test_register_that_was_edited_is_told_before_hours_are_spent(tmp_path: Path) -> None:
    root = tmp_path / "tiles"
    write_demo_tiles(root, size_px=128, num_train=1, num_val=1, num_test=1)
    (root / "seal.jsonl").write_text(json.dumps({"event": "opened"}) + "\n", encoding="utf-8")
    flags = ["--data", str(root), "--profile", "smoke", "--architectures", "unet"]
    assert planned(PHASE_1, tmp_path / "study", *flags)[0] == {"unet-1": (0, 1, 2)}
    with pytest.raises(UserError, match=r"seal\.jsonl"):
        planned(PHASE_1, tmp_path / "study", *flags, "--test")


def test_script_shows_it_and_ends_well(
    dataset_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["phase2_tuning.py", "--dry-run", "--data", str(dataset_root), *SMALL])
    assert run_phase("phase2_tuning", "") == 0
    assert "would write runs/phase2;" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_wandb_is_asked_where_something_of_it_is_set(
    dataset_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--data", str(dataset_root), *SMALL]
    monkeypatch.setenv("WANDB_PROJECT", "a/b")
    with pytest.raises(UserError, match="WANDB_PROJECT is 'a/b', but W&B refuses it"):
        planned(PHASE_2, tmp_path / "study", *flags)
    planned(PHASE_2, tmp_path / "study", *flags, "--wandb", "disabled")
