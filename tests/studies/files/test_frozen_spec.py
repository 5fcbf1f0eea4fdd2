"""The frozen spec on disk: what is read back, what is no settings, and files that are whole or not there."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from searchspace.spaces import recipe_point
from studies import command_line as cli
from studies.files import folder
from studies.profiles import PROFILES
from studies.spec import StudySpec
from trainables.common.errors import UserError
from trainables.common.whole_files import write_whole
from trainables.models.architectures import ARCHITECTURES

PROVENANCE: dict[str, Any] = {"study_id": "f00", "versions": {"python": "3.11.7"}, "segments": []}


def make_spec(**changes: object) -> StudySpec:
    return cli.make_spec({"profile": "smoke", "tiles": [5]} | changes)


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
def test_settings_that_cannot_be_read_are_refused(tmp_path, content, words):
    path = tmp_path / "study.yaml"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    for flag in ("--config", "the frozen spec"):
        with pytest.raises(UserError, match=f"^{flag} {re.escape(str(path))} {re.escape(words)}$"):
            folder.load_settings(path, flag)


def test_settings_come_without_their_provenance(tmp_path):
    path = tmp_path / "study.yaml"
    for text, origin in (("\n  study_id: f00", {"study_id": "f00"}), (" none", {})):
        path.write_text(f"trials: 7\nprovenance:{text}\n")
        assert folder.load_settings(path) == ({"trials": 7}, origin)


def test_study_that_is_older_than_what_a_profile_turns_on_goes_on_without_it(tmp_path):
    path = tmp_path / "study.yaml"
    for text, expected in (("", False), ("with_recipe: true\nensembles: true\ntta: true\n", True)):
        path.write_text(f"profile: full\n{text}provenance:\n  study_id: f00\n")
        spec = make_spec(**folder.load_settings(path)[0])
        assert (spec.with_recipe, spec.ensembles, spec.tta) == (expected,) * 3
    path.write_text("profile: quick\nprovenance:\n  study_id: f00\n")
    assert make_spec(**folder.load_settings(path)[0]).recipe_point == ()
    assert make_spec(profile="full").with_recipe
    assert not make_spec(profile="full", vary="lr").with_recipe


def test_new_provenance_has_an_identity_of_its_own_and_no_start_yet():
    first, second = (folder.provenance({"versions": {}}) for _ in range(2))
    assert re.fullmatch("[0-9a-f]{32}", first["study_id"])
    assert first["study_id"] != second["study_id"]
    assert first == {"study_id": first["study_id"], "versions": {}, "segments": []}


def test_every_start_is_on_record(tmp_path):
    folder.write_study(tmp_path, make_spec(), PROVENANCE, slots="2 trials at a time", versions={"ray": "2.60"})
    _, known = folder.load_settings(tmp_path / "study.yaml")
    folder.write_study(tmp_path, make_spec(trials=9), known, slots="1 trial at a time")
    settings, known = folder.load_settings(tmp_path / "study.yaml")
    assert settings["trials"] == 9
    began = [segment.pop("began") for segment in known["segments"]]
    assert began == sorted(began)
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", moment) for moment in began)
    starts = [{"slots": "2 trials at a time", "versions": {"ray": "2.60"}}, {"slots": "1 trial at a time"}]
    assert known == PROVENANCE | {"segments": starts}
    assert PROVENANCE["segments"] == []  # what was handed in stays as it is
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]
    text = (tmp_path / "study.yaml").read_text(encoding="utf-8")
    assert text.startswith("# What this study ran. Run it again with --config THIS_FILE --out OTHER_FOLDER.\n")
    assert list(yaml.safe_load(text))[-1] == "provenance"


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


@given(asked=SETTINGS.filter(is_allowed))
def test_frozen_spec_is_read_back_as_it_was(asked, tmp_path_factory):
    spec = cli.make_spec(asked)
    assert StudySpec.from_flat(spec.flat()) == spec
    assert StudySpec.from_flat(json.loads(json.dumps(spec.flat()))) == spec
    out = tmp_path_factory.mktemp("study")
    folder.write_study(out, spec, PROVENANCE)
    assert StudySpec.from_flat(folder.load_settings(out / "study.yaml")[0]) == spec
    if "weights" not in asked:  # the paths of weights are for one encoder each, and add to the profile's
        request = cli.read_command_line(["--config", str(out / "study.yaml")], phase=spec.phase, description="")
        assert (request.spec, request.out) == (spec, None)
    assert spec.changes(spec) == []


# Files that are whole or not there


def test_file_is_replaced_as_a_whole(tmp_path, monkeypatch):
    path = tmp_path / "selection.json"
    folder.write_json(path, {"unet-5": {"number": 3}})
    assert path.read_text(encoding="utf-8") == '{\n  "unet-5": {\n    "number": 3\n  }\n}\n'

    def killed(self: Path, target: Path) -> None:
        assert self.read_text(encoding="utf-8") == "größer"
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write_whole(path, "größer".encode(), outlasts_power=True)
    assert json.loads(path.read_text(encoding="utf-8")) == {"unet-5": {"number": 3}}
    write_whole(path, "größer".encode(), outlasts_power=True)
    assert path.read_text(encoding="utf-8") == "größer"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_file_that_does_not_fit_on_the_disk_is_not_there(tmp_path):
    (tmp_path / ".study.yaml.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        folder.write_study(tmp_path, make_spec(), PROVENANCE)
    assert not folder.has_study(tmp_path)
