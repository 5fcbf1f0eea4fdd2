"""Checks what the comparison of attempts refuses, each in one line and with nothing written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from analysis import compare
from analysis.attempts import AttemptError, read_attempts

Make = Callable[..., Path]


def picture(folder: Path, kind: str, tile: str) -> Path:
    return folder / "predictions" / "val" / kind / f"{tile}.jpg"


def refusal(*folders: Path, capsys: pytest.CaptureFixture[str], out: Path) -> str:
    """The one line that the command says where it writes nothing."""
    assert compare.main([*map(str, folders), "--out", str(out)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert not out.exists()
    return said.err.removeprefix("error: ").removesuffix("\n")


def test_folder_that_is_missing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "none"
    assert refusal(folder, capsys=capsys, out=tmp_path / "out") == (
        f"the attempt's folder is {folder}, but no such folder exists: give one that python -m trainables.fit made"
    )


def test_folder_without_attempt_is_refused(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = make().parent
    assert refusal(folder, capsys=capsys, out=tmp_path / "out") == (
        f"{folder} holds no attempt.json, but only an attempt's folder can be compared: "
        f"make one with python -m trainables.fit --attempt NN --out {folder}"
    )


def test_attempt_that_has_not_ended_is_refused(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = make()
    (folder / "summary.json").unlink()
    assert refusal(folder, capsys=capsys, out=tmp_path / "out") == (
        f"{folder} holds no summary.json, but only an attempt that has ended can be compared: it is still running or "
        "was interrupted; wait, or go on with the same command and --resume"
    )


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("attempt.json", "{", "Invalid JSON: EOF while parsing an object at line 1 column 1"),
        ("attempt.json", "{}", "attempt: Field required"),
        ("summary.json", '{"val_iou": "good"}', "val_iou: Input should be a valid number, unable to parse string as "),
        ("summary.json", '{"val_iou": NaN}', "val_iou: Input should be a finite number"),
        ("history.csv", None, "[Errno 2] No such file or directory: "),
        ("history.csv", "", "No columns to parse from file"),
        ("history.csv", "epoch,lr\n1,0.1\n", "Usecols do not match columns, columns expected but not found: "),
        ("history.csv", "epoch,judged\n1,good\n", "could not convert string to float: 'good'"),
        (
            "history.csv",
            "epoch,judged\n1,0.3\n2,\n",
            "every row needs a judged val IoU and a later epoch than the row before",
        ),
        (
            "history.csv",
            "epoch,judged\n2,0.3\n1,0.3\n",
            "every row needs a judged val IoU and a later epoch than the row ",
        ),
        ("history.csv", "epoch,judged\n1,0.3\n", "it has no epoch 2, the best one by summary.json"),
        ("history.csv", 'epoch,judged\n1,"0.3', "Error tokenizing data. C error: EOF inside string starting at row 1"),
    ],
)
def test_damaged_file_is_refused(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str | None, what: str
):
    folder = make()
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    error = refusal(folder, capsys=capsys, out=tmp_path / "out")
    assert error.startswith(f"{folder / name} is damaged ({what}")
    assert error.endswith("): run the attempt again or leave its folder out")


def test_history_that_is_no_text_is_refused(make: Make):
    folder = make()
    (folder / "history.csv").write_bytes(b"epoch,judged\n\xff\xfe,0.3\n")
    with pytest.raises(AttemptError, match=r"history.csv is damaged \('utf-8' codec can't decode"):
        read_attempts([folder])


def test_summary_without_a_tile_is_refused(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = make(summary={"tile_iou": {"austin1": 0.71}})
    assert refusal(folder, capsys=capsys, out=tmp_path / "out") == (
        f"{folder / 'summary.json'} is damaged (tile_iou has no austin2): run the attempt again or leave its folder out"
    )


@pytest.mark.parametrize(
    ("about", "what", "other", "first"),
    [
        ({"tiles_digest": "b" * 64}, "tiles", "digest bbbbbbbbbbbb", "digest aaaaaaaaaaaa"),
        ({"val_tiles": ["austin1"], "tiles_digest": "b" * 64}, "val tiles", "austin1", "austin1, austin2"),
    ],
)
def test_attempts_on_other_tiles_are_refused(
    make: Make,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    about: dict[str, Any],
    what: str,
    other: str,
    first: str,
):
    one, two = make("02"), make("03", attempt="03", **about)
    assert refusal(one, two, capsys=capsys, out=tmp_path / "out") == (
        f"{two} has other {what} ({other}) than {one} ({first}), but only attempts on the same tiles can be compared: "
        "compare them apart"
    )


def test_folder_given_twice_is_refused_however_it_is_written(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = make()
    again = folder / ".." / folder.name
    assert refusal(folder, again, capsys=capsys, out=tmp_path / "out") == (
        f"{again} is the same folder as {folder}, but an attempt is compared with others: give each folder once"
    )
    with pytest.raises(AttemptError, match="is the same folder as"):
        read_attempts([folder, folder])


@pytest.mark.parametrize("kind", ["images", "truth", "overlays"])
def test_missing_picture_is_refused_with_its_path(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
):
    folder = make()
    picture(folder, kind, "austin2").unlink()
    assert refusal(folder, capsys=capsys, out=tmp_path / "out") == (
        f"{picture(folder, kind, 'austin2')} does not exist, but the grid of tile austin2 shows it: "
        f"run attempt 02 again or leave {folder} out"
    )


@pytest.mark.parametrize("num_bytes", [0, 10, 300])
def test_damaged_picture_is_refused(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], num_bytes: int):
    folder = make()
    path = picture(folder, "truth", "austin1")
    path.write_bytes(path.read_bytes()[:num_bytes])
    error = refusal(folder, capsys=capsys, out=tmp_path / "out")
    assert error.startswith(f"{path} is no picture that can be read (")
    assert error.endswith(f"): run attempt 02 again or leave {folder} out")


def test_picture_of_another_size_is_refused(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = make()
    path = picture(folder, "overlays", "austin1")
    Image.new("RGB", (32, 48)).save(path)
    assert refusal(folder, capsys=capsys, out=tmp_path / "out") == (
        f"{path} is 32x48 px, but the tile's image is 64x64 px: run attempt 02 again or leave {folder} out"
    )


def test_main_says_in_one_line_that_it_cannot_write(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "out").write_text("a file where the folder should be")
    assert compare.main([str(make()), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: the comparison cannot be written: ")
    assert error.count("\n") == 1
