"""What a dry run says of a machine of two cores, or of such a cluster; and that it leaves nothing behind."""

import contextlib
import io
import json
import re
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from studies import dry_run
from studies.backend import cluster
from studies.backend.slots import Node, fit_slots
from studies.profiles import PHASES, REFERENCE, PhaseName
from studies.study import run_study
from tests.studies.command_lines import request_of
from trainables.common.errors import UserError
from trainables.data import decode
from trainables.memory import Memory

PHASE_1, PHASE_2, PHASE_3 = PHASES
SMALL = ["--profile", "smoke", "--architectures", "unet", "sam_conv", "--trials", "4", "--epochs", "3"]
ROW = re.compile(r"^ (?P<arm>\w+-\d+)( \(.*\))? +(?P<search>\d+) +(?P<final>\d+) +(?P<epochs>\d+) *$", re.MULTILINE)


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """The addresses that Ray was asked for."""
    asked: list[str | None] = []

    @contextlib.contextmanager
    def session(address: str | None) -> Iterator[None]:
        asked.append(address)
        yield

    monkeypatch.setattr(dry_run, "this_machine", lambda: Node(cpus=2))
    monkeypatch.setattr(cluster, "ray_session", session)
    monkeypatch.setattr(cluster, "ray_slots", lambda spec, needed: fit_slots(spec, [Node(cpus=2)], needed))
    return asked


@pytest.fixture
def planned(tmp_path):
    """Searched trials, final models and epochs by arm, and the whole text; nothing is written for it."""

    def plan(phase: PhaseName, *flags: str) -> tuple[dict[str, tuple[int, int, int]], str]:
        request = request_of("--out", str(tmp_path / "study"), "--dry-run", *flags, phase=phase)
        assert request.out is not None
        console = Console(width=200, record=True, file=io.StringIO())
        before = sorted(tmp_path.rglob("*"))
        dry_run.show_plan(request, request.out, console)
        assert sorted(tmp_path.rglob("*")) == before
        text = console.export_text()
        rows = {row["arm"]: (int(row["search"]), int(row["final"]), int(row["epochs"])) for row in ROW.finditer(text)}
        return rows, text

    return plan


@pytest.fixture
def whole(tmp_path, write_rgb):
    """Tiles of which the test tile is whole, too."""
    return write_rgb(tmp_path / "tiles", counts={"train": 13, "val": 1, "test": 1}, size_px=(128, 128))


def test_everything_that_would_run_is_told(planned, dataset_root, tmp_path):
    rows, text = planned(PHASE_2, "--data", str(dataset_root), *SMALL, "--seeds", "2")
    assert rows == {"unet-4": (4, 2, 18), "sam_conv-4": (4, 2, 18)}
    assert "36 epochs at most, each of 8 draws; 2 trials at a time, each on 1 core" in text
    assert f"tiles: {dataset_root} (4 train, 2 val, 1 test, which stay sealed)" in text
    assert "judged by val/iou_center128; seed 42" in text
    assert f"on this machine; would write {tmp_path / 'study'}; W&B offline" in text
    assert "(base width 16)" in text  # a smaller variant never passes for the real thing


@pytest.mark.faults
def test_forecast_is_of_trials_that_ran_here(planned, dataset_root):
    flags = ["--data", str(dataset_root), "--profile", "smoke", "--architectures", "unet", "--forecast"]
    _, here = planned(PHASE_2, *flags, "--price-per-hour", "36")
    found = re.search(r"forecast: about (\d+) s \((\d+) s … (\d+) s\) with 2 trials at a time, each as", here)
    assert found is not None
    middle, low, high = map(int, found.groups())
    assert 40 <= low <= middle <= high < 120  # 15 s of a start and 25 s of a report are in it
    assert re.search(r"about 0\.\d\d \(0\.\d\d … \d\.\d\d\) at 36 an hour", here)
    assert re.search(r"0\.\d+ GB of checkpoints at most, 0\.\d+ GB of them kept", here)
    _, there = planned(PHASE_2, *flags, "8")
    assert "with 8 trials at a time, each as fast as on this machine" in there
    assert "an hour" not in there


@pytest.mark.parametrize(
    ("phase", "flags", "rows"),
    [
        (PHASE_2, [*SMALL, "--seeds", "0"], {"unet-4": (4, 0, 12), "sam_conv-4": (4, 0, 12)}),
        (PHASE_2, ["--architectures", "unet", "--vary", "decoder_dropout", "--seeds", "2"], {"unet-4": (8, 2, 20)}),
        (
            PHASE_2,
            ["--architectures", "unet", "--labels", "2", "6", "--folds", "2"],
            {"unet-2": (2, 1, 10), "unet-6": (2, 1, 10)},
        ),
        (PHASE_2, ["--architectures", "unet", "--labels", "6"], {"unet-6": (2, 1, 26)}),  # each label is held out
        (PHASE_1, ["--architectures", "unet", "--labels", "1", "6"], {"unet-1": (0, 1, 2), "unet-6": (0, 1, 2)}),
        (PHASE_1, ["--seeds", "3"], {f"{name}-4": (0, 3, 6) for name in REFERENCE}),
    ],
)
def test_search_grid_and_comparison_are_told_apart(phase, flags, rows, planned, dataset_root):
    assert planned(phase, "--data", str(dataset_root), "--profile", "smoke", *flags)[0] == rows


def test_networks_of_folds_are_as_many_as_places_allow(planned, write_rgb, tmp_path):
    groups = {f"train_{number}": "north" for number in range(3)}  # 7 labels in 5 places
    root = write_rgb(tmp_path / "tiles", counts={"train": 5, "val": 2, "test": 1}, info={"groups": groups})
    flags = ["--data", str(root), "--profile", "smoke", "--architectures", "unet", "--val-center-px", "64"]
    assert planned(PHASE_2, *flags, "--labels", "7")[0] == {"unet-7": (2, 1, 22)}


def test_budgets_are_those_that_there_are_tiles_for(planned, dataset_root, whole, tmp_path, write_tuned):
    write_tuned(tmp_path / "phase2", {"unet-4": 1e-3}, data=str(dataset_root))
    flags = ["--from", str(tmp_path / "phase2"), "--subsets", "3", "--seeds", "2"]
    assert planned(PHASE_3, *flags)[0] == {"unet-4": (0, 2, 4)}  # 5, 12 and 24 are more than there are
    assert planned(PHASE_3, *flags, "--tiles", "2", "4")[0] == {"unet-2": (0, 6, 12), "unet-4": (0, 2, 4)}
    assert list(planned(PHASE_3, *flags, "--data", str(whole))[0]) == ["unet-5", "unet-12", "unet-13"]


@pytest.mark.parametrize("address", ["head:6379", None])
def test_a_cluster_is_asked_and_named_and_this_machine_needs_no_ray(address, planned, asked, dataset_root):
    where = ["--address", address] if address else []
    text = planned(PHASE_2, "--data", str(dataset_root), *SMALL, *where)[1]
    assert f"on {address or 'this machine'}; would write" in text
    assert asked == ([address] if address else [])


def test_memory_of_trials_is_told_where_there_is_a_gpu(planned, dataset_root, monkeypatch):
    """0.9 · 12 GiB are 10.8; an architecture that cannot be traced has a GPU for itself."""
    known = {"unet": Memory(train_gib=2.6, evaluate_gib=1.5), "sam_conv": None}
    monkeypatch.setattr(dry_run, "trial_memory", lambda *_: {name: known[name] for name in own})
    monkeypatch.setattr(dry_run, "this_machine", lambda: Node(cpus=8, gpus=1, gpu_gib=12))
    flags = ["--data", str(dataset_root), "--profile", "smoke", "--trials", "4"]
    for own, words in ((("unet",), "3 trials at a time"), (("unet", "sam_conv"), "1 trial at a time")):
        text = planned(PHASE_2, *flags, "--architectures", *own)[1]
        assert words in text
        assert re.search(r"^ unet +2\.6 +1\.5 +3\.6 +3 *$", text, re.MULTILINE)
    assert "12 GiB" in text
    assert re.search(r"^ sam_conv +– +– +– +– *$", text, re.MULTILINE)


# What a start would refuse


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--tiles", "99"], "--tiles 99 asks for 99 train tiles"),
        (["--labels", "99"], r"--labels 99 asks for 99 labelled tiles, but there are 6 \(4 train and 2 val\)"),
        (["--labels", "2", "6", "--folds", "3"], "--folds is 3, but must be from 2 to the 2 labels of a budget"),
        (["--labels", "5", "1"], "--labels is 1, but folds hold some labels out of a search: use 2 or more"),
        (["--cpus-per-trial", "3"], "--cpus-per-trial is 3, but there are 2 cores"),
        (["--seeds", "1", "--test"], r"/test/images/\w+\.jpg is damaged or truncated: replace it$"),
    ],
)
def test_what_a_start_would_refuse_is_refused(flags, words, planned, dataset_root):
    with pytest.raises(UserError, match=words):
        planned(PHASE_2, "--data", str(dataset_root), "--profile", "smoke", *flags)
    assert not (dataset_root / "seal.jsonl").exists()


def void(mask):
    mask[:] = 9


def void_center(mask):
    mask[32:-32, 32:-32] = 9


def set_to(value):
    return lambda mask: np.place(mask, mask == 255, value)


@pytest.mark.parametrize(
    ("files", "change", "words"),
    [
        ("train/images/train_1.png", None, "is damaged or truncated"),
        ("val/masks/val_0.png", None, "is damaged or truncated"),
        ("test/images/test_0.png", None, "is damaged or truncated"),
        ("train/masks/train_1.png", set_to(7), "holds the value 7"),
        ("val/masks/val_0.png", set_to(1), "but the foreground must be the same value in all masks"),
        ("test/masks/test_0.png", set_to(1), "but the foreground must be the same value in all masks"),
        ("train/masks/*", void, "all train tiles are void or without data in every pixel"),
        ("val/masks/*", void, "all val tiles are void or without data in every pixel"),
        ("test/masks/*", void, "all test tiles are void or without data in every pixel"),
        ("val/masks/*", void_center, "--val-center-px is 64, but every pixel there is void in all val tiles"),
        ("train/masks/*", set_to(9), "the train masks hold nothing but background and void"),
    ],
)
def test_a_broken_folder_is_refused_as_by_a_start(files, change, words, tmp_path, write_rgb):
    counts = {"train": 3, "val": 2, "test": 1}
    root = write_rgb(tmp_path / "tiles", counts=counts, size_px=(128, 128), info={"ignore_index": 9})
    for path in root.glob(files):
        if change is None:
            path.write_bytes(path.read_bytes()[:-30])
        else:
            mask = np.array(Image.open(path))
            change(mask)
            Image.fromarray(mask).save(path)
    request = request_of(*SMALL, "--data", str(root), "--seeds", "1", "--test", "--val-center-px", "64")
    said = []
    for begin in (dry_run.show_plan, lambda asked, out, console: run_study(asked.spec, out=out, console=console)):
        with pytest.raises(UserError, match=words) as refused:
            begin(request, tmp_path / "study", Console(quiet=True))
        said.append(str(refused.value))
    assert said[0] == said[1]
    assert not (tmp_path / "study").exists()


def test_each_file_is_decoded_once(planned, whole, monkeypatch):
    decoded, read = [], decode.read_pixels
    monkeypatch.setattr(decode, "read_pixels", lambda path: decoded.append(path) or read(path))
    planned(PHASE_1, "--data", str(whole), "--profile", "smoke", "--architectures", "unet", "--test")
    assert sorted(decoded) == sorted(whole.glob("*/*/*"))
    assert len(decoded) == 30


def test_folder_that_holds_something_is_refused(planned, dataset_root, tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "notes.txt").touch()
    with pytest.raises(UserError, match="exists and is not empty"):
        planned(PHASE_2, "--data", str(dataset_root), *SMALL)


def test_register_is_looked_at_where_the_test_tiles_would_be_opened(planned, whole):
    flags = ["--data", str(whole), "--profile", "smoke", "--architectures", "unet"]
    assert "1 test, opened once for each arm)" in planned(PHASE_1, *flags, "--test")[1]
    assert not (whole / "seal.jsonl").exists()
    (whole / "seal.jsonl").write_text(json.dumps({"event": "opened"}) + "\n", encoding="utf-8")
    assert planned(PHASE_1, *flags)[0] == {"unet-13": (0, 1, 2)}
    with pytest.raises(UserError, match=r"seal\.jsonl"):
        planned(PHASE_1, *flags, "--test")


def test_wandb_is_asked_where_something_of_it_is_set(planned, dataset_root, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "a/b")
    with pytest.raises(UserError, match="WANDB_PROJECT is 'a/b', but W&B refuses it"):
        planned(PHASE_2, "--data", str(dataset_root), *SMALL)
    planned(PHASE_2, "--data", str(dataset_root), *SMALL, "--wandb", "disabled")
