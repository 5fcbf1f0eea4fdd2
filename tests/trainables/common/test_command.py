"""Command lines: paths as people write them."""

from pathlib import Path

import pytest

from trainables.common.command import Parser, did_you_mean, path_of
from trainables.common.errors import UserError
from trainables.data.dataset import read_dataset


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_home_folder_is_meant_by_a_tilde_behind_an_equals_sign(home: Path) -> None:
    parser = Parser()
    parser.add_argument("--out", type=Path)
    command = parser.add_subparsers().add_parser("one")
    command.add_argument("--dst", type=Path)
    assert parser.parse_args(["--out=~/runs"]).out == home / "runs"
    assert parser.parse_args(["one", "--dst=~/tiles"]).dst == home / "tiles"
    others = ["runs/a", "./runs/~a", "/runs", "a=~"]
    assert [path_of(text) for text in others] == others


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "must be a path"),
        ("a\0b", "must be a path"),
        ("~nobody-here/x", "nobody here is called 'nobody-here': write ./~nobody-here/x"),
        ("x" * 300, "must be a shorter path"),
    ],
)
def test_what_is_no_path_is_refused_with_its_flag(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        path_of(text)
    parser = Parser()
    parser.add_argument("--out", type=Path)
    with pytest.raises(UserError, match=f"argument --out: it is .*{rule}"):
        parser.parse_args([f"--out={text}"])


def test_folder_of_nearly_that_name_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "phase2").mkdir(parents=True)
    (tmp_path / "runs" / "phase2.txt").touch()
    monkeypatch.chdir(tmp_path)
    assert did_you_mean(Path("runs/phas2")) == ", or did you mean runs/phase2"
    for text in ("runs/other", "runs/phase2", "nowhere/phase2", "."):
        assert did_you_mean(Path(text)) == ""
    with pytest.raises(UserError, match=r"^run is no folder, .* check the path, or did you mean runs$"):
        read_dataset(Path("run"))
