"""A study's folder: who may begin in it, what an error or a kill leaves there, and the frozen spec."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from searchspace.spaces import recipe_point
from studies import command_line as cli
from studies.files import folder, lock
from studies.profiles import PROFILES
from studies.search.coordinator import Coordinator
from studies.search.ledger import Ledger
from studies.search.plans import Search
from studies.spec import StudySpec
from trainables.common.errors import UserError
from trainables.common.whole_files import write_whole
from trainables.models.architectures import ARCHITECTURES

PROVENANCE: dict[str, Any] = {"study_id": "f00", "versions": {"python": "3.11.7"}, "segments": []}


def make_spec(**changes: object) -> StudySpec:
    return cli.make_spec({"profile": "smoke", "tiles": [5]} | changes)


def names(path: Path) -> list[str]:
    return sorted(p.relative_to(path).as_posix() for p in path.rglob("*"))


def refusal(out: Path) -> str:
    with pytest.raises(UserError) as refused:
        folder.check_free(out)
    return str(refused.value)


# Who may begin


@pytest.mark.parametrize("kind", ["missing", "empty", "only a lock"])
def test_free_folder_is_free(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "study"
    if kind != "missing":
        out.mkdir()
    if kind == "only a lock":
        (out / lock.NAME).touch()
    folder.check_free(out)
    assert out.exists() == (kind != "missing")


def test_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    words = f"--out {tmp_path / 'study'} exists and is not empty: choose another folder, or remove it"
    (tmp_path / "study").write_text("a file")
    assert refusal(tmp_path / "study") == words
    (tmp_path / "study").unlink()
    (tmp_path / "study" / "notes").mkdir(parents=True)
    assert refusal(tmp_path / "study") == words


def test_folder_that_holds_a_study_is_refused_with_how_to_go_on(tmp_path: Path) -> None:
    folder.write_study(tmp_path, make_spec(), PROVENANCE)
    words = f"--out {tmp_path} holds a study: resume it with --resume, or choose another folder"
    assert refusal(tmp_path) == words
    with pytest.raises(UserError, match=re.escape(words)), folder.hold_folder(tmp_path, resume=False):
        pass
    assert names(tmp_path) == ["study.yaml"]


def test_folder_that_cannot_be_looked_at_is_refused(tmp_path: Path) -> None:
    out = tmp_path / ("x" * 300)
    assert refusal(out) == f"--out {out} cannot be read (File name too long): choose another folder"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else")
def test_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """The system asks root for no permission: this looks as nobody."""
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    os.seteuid(65534)
    try:
        found = refusal(hidden / "study")
        with pytest.raises(UserError) as not_begun:
            folder.has_study(hidden / "study")
    finally:
        os.seteuid(0)
    words = f"{hidden / 'study'} cannot be read (Permission denied): choose another folder"
    assert found == f"--out {words}"
    assert str(not_begun.value) == f"--out {words}"


# What an error or a kill leaves


@contextlib.contextmanager
def failing(out: Path) -> Iterator[None]:
    """A driver that holds the folder and ends with an error; which must be the one that comes out."""
    claim, error = folder.hold_folder(out, resume=False), KeyError("what went wrong")
    claim.__enter__()
    yield
    assert claim.__exit__(KeyError, error, None) is False


def leave_beginnings(out: Path) -> Ledger:
    """What a driver leaves that is killed just before the study begins."""
    ledger = Ledger(out / folder.LEDGER, {"unet-5": "unet"}, study_id="f00")
    for name in (".study.yaml.part", ".permit-1", lock.NAME):
        (out / name).touch()
    assert names(out) == [".lock", ".permit-1", ".study.yaml.part", "optuna.db", "optuna.db-shm", "optuna.db-wal"]
    return ledger


def test_error_before_the_study_began_leaves_no_folder(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "study"
    with failing(out):
        leave_beginnings(out)
    assert names(tmp_path) == []


@pytest.mark.parametrize("resume", [False, True])
def test_what_a_driver_left_that_was_killed_before_the_study_began_is_cleared(tmp_path: Path, resume: bool) -> None:
    leave_beginnings(tmp_path)
    folder.check_free(tmp_path)
    with folder.hold_folder(tmp_path, resume=resume):
        assert names(tmp_path) == [".lock"]
    assert names(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"x" * 8, b"x" * 8192])
def test_ledger_that_is_none_is_left_alone_unless_it_is_empty(tmp_path: Path, content: bytes) -> None:
    (tmp_path / folder.LEDGER).write_bytes(content)
    if content:
        for resume in (False, True):
            with (
                pytest.raises(UserError, match="exists and is not empty"),
                folder.hold_folder(tmp_path, resume=resume),
            ):
                pass
        assert (tmp_path / folder.LEDGER).read_bytes() == content
    else:
        folder.check_free(tmp_path)


@pytest.mark.parametrize("resume", [False, True])
def test_trials_of_a_study_that_lost_its_spec_are_never_cleared(tmp_path: Path, resume: bool) -> None:
    spec = make_spec(architectures=["unet"])
    ledger = leave_beginnings(tmp_path)
    Coordinator(spec, ledger, Search(spec)).next()
    ledger.close()
    before = names(tmp_path)
    words = f"--out {tmp_path} exists and is not empty: choose another folder, or remove it"
    assert refusal(tmp_path) == words
    with pytest.raises(UserError, match=re.escape(words)), folder.hold_folder(tmp_path, resume=resume):
        pass
    assert set(before) - set(names(tmp_path)) == {lock.NAME}
    assert len(Ledger(tmp_path / folder.LEDGER, {"unet-5": "unet"}, study_id="f00").trials("unet-5")) == 1


def test_error_before_the_study_began_leaves_an_empty_folder_as_it_was(tmp_path: Path) -> None:
    with failing(tmp_path):
        leave_beginnings(tmp_path)
    assert tmp_path.is_dir()
    assert names(tmp_path) == []


def test_error_leaves_what_somebody_else_put_there(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "study"
    with failing(out):
        (out / "notes.txt").touch()
    assert names(tmp_path) == ["runs", "runs/study", "runs/study/notes.txt"]


def test_folder_that_went_away_meanwhile_hides_no_error(tmp_path: Path) -> None:
    out = tmp_path / "study"
    with failing(out):
        shutil.rmtree(out)
    assert names(tmp_path) == []


def test_everything_stays_once_the_study_began(tmp_path: Path) -> None:
    out = tmp_path / "study"
    with failing(out):
        (out / folder.LEDGER).write_bytes(b"trials")
        folder.write_study(out, make_spec(), PROVENANCE)
        (out / ".permit-1").touch()
    assert names(out) == [".permit-1", "optuna.db", "study.yaml"]
    assert (out / folder.LEDGER).read_bytes() == b"trials"
    with folder.hold_folder(out, resume=True):
        assert (out / folder.LEDGER).read_bytes() == b"trials"
    assert names(out) == [".permit-1", "optuna.db", "study.yaml"]


def test_folder_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "study"
    with folder.hold_folder(out, resume=False):
        (out / folder.LEDGER).write_bytes(b"trials")
        for resume in (False, True):
            with pytest.raises(UserError, match="is in use by process"), folder.hold_folder(out, resume=resume):
                pass
        assert names(out) == [".lock", "optuna.db"]


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "study"
    words = f"--out {out} cannot be made (Not a directory): choose another folder"
    with pytest.raises(UserError, match=re.escape(words)), folder.hold_folder(out, resume=False):
        pass
    out = tmp_path / "new" / ("x" * 300)
    words = f"--out {out} cannot be made (File name too long): choose another folder"
    with pytest.raises(UserError, match=re.escape(words)), folder.hold_folder(out, resume=False):
        pass
    assert names(tmp_path) == ["file"]


# Settings from files


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: check the path"),
        (b"trials: [\n", "is no YAML: mend it"),
        (b"\xff\xfe\x00trials", "is no YAML: mend it"),
        (b"seed: 2020-99-99\n", "is no YAML: mend it"),  # a date, to YAML
        (b"", "holds NoneType, but must hold `setting: value` lines"),
        (b"- trials\n", "holds list, but must hold `setting: value` lines"),
        (b"trials\n", "holds str, but must hold `setting: value` lines"),
    ],
)
def test_settings_that_cannot_be_read_are_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "study.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as refused:
        folder.load_settings(path)
    assert str(refused.value) == f"--config {path} {words}"
    with pytest.raises(UserError, match=f"^the frozen spec {re.escape(str(path))} {re.escape(words)}$"):
        folder.load_settings(path, "the frozen spec")


def test_settings_come_without_their_provenance(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("trials: 7\nprovenance:\n  study_id: f00\n")
    assert folder.load_settings(path) == ({"trials": 7}, {"study_id": "f00"})
    path.write_text("trials: 7\nprovenance: none\n")
    assert folder.load_settings(path) == ({"trials": 7}, {})
    with pytest.raises(UserError, match=f"^--config {re.escape(str(tmp_path))} cannot be read: check the path$"):
        folder.load_settings(tmp_path)


def test_new_provenance_has_an_identity_of_its_own_and_no_start_yet() -> None:
    first, second = folder.provenance({"versions": {}}), folder.provenance({"versions": {}})
    assert re.fullmatch("[0-9a-f]{32}", first["study_id"])
    assert first["study_id"] != second["study_id"]
    assert first == {"study_id": first["study_id"], "versions": {}, "segments": []}


def test_every_start_is_on_record(tmp_path: Path) -> None:
    folder.write_study(tmp_path, make_spec(), PROVENANCE, slots="2 trials at a time", versions={"ray": "2.60"})
    settings, known = folder.load_settings(tmp_path / "study.yaml")
    folder.write_study(tmp_path, make_spec(trials=9), known, slots="1 trial at a time")
    settings, known = folder.load_settings(tmp_path / "study.yaml")
    assert settings["trials"] == 9
    began = [segment.pop("began") for segment in known["segments"]]
    assert known["segments"] == [
        {"slots": "2 trials at a time", "versions": {"ray": "2.60"}},
        {"slots": "1 trial at a time"},
    ]
    assert began == sorted(began)
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", moment) for moment in began)
    assert {key: known[key] for key in PROVENANCE if key != "segments"} == {
        "study_id": "f00",
        "versions": {"python": "3.11.7"},
    }
    assert PROVENANCE["segments"] == []  # what was handed in stays as it is
    assert names(tmp_path) == ["study.yaml"]


SETTINGS = st.fixed_dictionaries(
    {"profile": st.sampled_from(list(PROFILES))},
    optional={
        "data": st.sampled_from(["tiles", "/data/größe ☃", "0123", "no", "2020-01-01", "a: b", "~"]),
        "architectures": st.lists(st.sampled_from(list(ARCHITECTURES)), min_size=1, unique=True),
        "tiles": st.none() | st.lists(st.integers(1, 10**6), min_size=1, unique=True),
        "trials": st.integers(1, 10**9),
        "seeds": st.integers(1, 9),
        "subsets": st.integers(1, 9),
        "test": st.booleans(),
        "vary": st.none() | st.sampled_from(["augmentation", "lr", "bce_weight", "decoder_dropout"]),
        "sampler": st.sampled_from(["tpe", "random"]),
        "seed": st.integers(0, 2**63),
        "gpus_per_trial": st.none() | st.floats(0, 8),
        "address": st.none() | st.sampled_from(["auto", "127.0.0.1:6379", "12:34"]),
        "weights": st.sampled_from([["none"], ["imagenet"], ["a.pth"], ["resnet34=no", "sam_vit_b=0x10"]]),
        "epochs": st.integers(1, 10**6),
        "weight_decay": st.floats(0, 1),
        "window_px": st.none() | st.integers(1, 64).map(lambda n: 32 * n),
        "small": st.booleans(),
        "batch_size": st.none() | st.integers(2, 4),
    },
)


def is_allowed(settings: dict[str, Any]) -> bool:
    """Whether the loss of each architecture has the weight that is varied, which a command line checks."""
    vary = settings.get("vary")
    names = settings.get("architectures") or list(ARCHITECTURES)
    return vary is None or all(vary in recipe_point(name) for name in names)


@given(settings=SETTINGS.filter(is_allowed))
def test_frozen_spec_is_read_back_as_it_was(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    spec = cli.make_spec(settings)
    assert StudySpec.from_flat(spec.flat()) == spec
    assert StudySpec.from_flat(json.loads(json.dumps(spec.flat()))) == spec
    out = tmp_path_factory.mktemp("study")
    folder.write_study(out, spec, PROVENANCE)
    assert StudySpec.from_flat(folder.load_settings(out / "study.yaml")[0]) == spec
    if "weights" not in settings:  # the paths of weights are for one encoder each, and add to the profile's
        request = cli.read_command_line(["--config", str(out / "study.yaml")], phase=spec.phase, description="")
        assert (request.spec, request.out) == (spec, None)
    assert spec.changes(spec) == []


def test_frozen_spec_says_what_it_is_and_how_to_run_it_again(tmp_path: Path) -> None:
    folder.write_study(tmp_path, make_spec(), PROVENANCE)
    text = (tmp_path / "study.yaml").read_text(encoding="utf-8")
    assert text.startswith("# What this study ran. Run it again with --config THIS_FILE --out OTHER_FOLDER.\n")
    assert list(yaml.safe_load(text))[-1] == "provenance"


# Files that are whole or not there


def test_file_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "selection.json"
    folder.write_json(path, {"unet-5": {"number": 3}})
    assert path.read_text(encoding="utf-8") == '{\n  "unet-5": {\n    "number": 3\n  }\n}\n'

    def killed(self: Path, target: Path) -> None:
        assert self.read_text(encoding="utf-8") == "größer"
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, "größer".encode(), outlasts_power=True)
    assert json.loads(path.read_text(encoding="utf-8")) == {"unet-5": {"number": 3}}
    monkeypatch.undo()
    write_whole(path, "größer".encode(), outlasts_power=True)
    assert path.read_text(encoding="utf-8") == "größer"
    assert names(tmp_path) == ["selection.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_file_that_does_not_fit_on_the_disk_is_not_there(tmp_path: Path) -> None:
    (tmp_path / ".study.yaml.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        folder.write_study(tmp_path, make_spec(), PROVENANCE)
    assert not folder.has_study(tmp_path)
