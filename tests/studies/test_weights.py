"""`--weights`: one choice for all encoders, others for single ones, and the files that are checked before a study."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console

from studies.inputs import _find_weights
from studies.settings.arms import Arm
from studies.spec import StudySpec
from studies.study import run_study
from tests.studies.command_lines import read
from trainables.common.errors import UserError
from trainables.common.whole_files import digest
from trainables.models import weights as weights_module
from trainables.models.weight_files import PUBLISHED


def read_file(path: Path, text: str, *flags: str) -> StudySpec:
    path.write_text(text, encoding="utf-8")
    return read("--config", str(path), *flags)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with `resnet34.pth` and `sam.pth`, the latter taken for the published one, as current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").mkdir()
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "resnet34.pth")
    for name in ("sam.pth", "a=b/sam.pth"):
        (tmp_path / name).write_bytes(b"sam")
    monkeypatch.setitem(PUBLISHED, "sam_vit_b", replace(PUBLISHED["sam_vit_b"], sha256=digest(tmp_path / "sam.pth")))
    return tmp_path


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub's file for `imagenet`, found in the cache."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"hub")

    def cached(*_: str, revision: str, local_files_only: bool = False) -> str:
        assert local_files_only
        return str(path)

    monkeypatch.setattr(weights_module.huggingface_hub, "hf_hub_download", cached)
    return path


# What a person writes


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("profile: quick", [], ("none",)),
        ("profile: smoke", [], ("none",)),
        ("profile: full", [], ("imagenet",)),
        ("profile: quick", ["imagenet"], ("imagenet",)),
        ("profile: full", ["none"], ("none",)),
        ("profile: full", ["encoder.pth"], ("encoder.pth",)),
        ("weights: imagenet", [], ("imagenet",)),
        ("weights: runs/a=b/x.pth", [], ("runs/a=b/x.pth",)),
        # Choices for single encoders add to the profile's
        ("profile: full", ["sam_vit_b=sam.pth"], ("imagenet", "sam_vit_b=sam.pth")),
        ("profile: full\nweights: sam_vit_b=sam.pth", [], ("imagenet", "sam_vit_b=sam.pth")),
        ("profile: quick", ["sam_vit_b=sam.pth"], ("sam_vit_b=sam.pth",)),
        ("profile: full", ["a=a.pth", "resnet34=r.pth"], ("imagenet", "a=a.pth", "resnet34=r.pth")),
        ("profile: full\nweights:\n- a=a.pth\n- resnet34=none", [], ("imagenet", "a=a.pth", "resnet34=none")),
        # With a choice for all among them, nothing of the profile is left
        ("profile: full", ["none", "sam_vit_b=sam.pth"], ("none", "sam_vit_b=sam.pth")),
        ("profile: full\nweights: [none, sam_vit_b=sam.pth]", [], ("none", "sam_vit_b=sam.pth")),
        ("profile: full", ["sam_vit_b=sam.pth", "runs/a=b/x.pth"], ("sam_vit_b=sam.pth", "runs/a=b/x.pth")),
        # Flags win over a file
        ("profile: full\nweights: [none, resnet34=r.pth]", ["a=a.pth"], ("imagenet", "a=a.pth")),
    ],
)
def test_weights_for_single_encoders_add_to_the_profiles(text, given, expected, tmp_path):
    flags = ["--weights", *given] if given else []
    assert read_file(tmp_path / "study.yaml", text, *flags).weights == expected


# Whose they are


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            ["--profile", "full", "--weights", "sam_vit_b=sam.pth"],
            {"unet": "none", "deeplabv3plus_resnet34": "imagenet", "sam_conv": "sam.pth", "sam_unet": "sam.pth"},
        ),
        (["--profile", "full"], {"lavit": "none", "vit_gat": "imagenet", "deeplabv3_resnet50": "imagenet"}),
        # Small variants take nothing that is meant for all
        (
            ["--profile", "smoke", "--weights", "imagenet"],
            {"unet": "none", "unet_resnet34": "imagenet", "sam_unet": "none", "lavit": "none"}
            | {"segformer_mit_b3": "none", "vit_gat": "none", "deeplabv3_resnet50": "none"},
        ),
        (["--profile", "smoke", "--weights", "encoder.pth"], {"unet_resnet34": "encoder.pth", "sam_conv": "none"}),
        # What names one is meant for it, and is refused later where it does not fit
        (
            ["--weights", "mit_b3=b3.pth", "deeplabv3_resnet50=coco", "sam_vit_b=sam.pth"],
            {"segformer_mit_b3": "b3.pth", "vit_gat": "none", "deeplabv3_resnet50": "coco", "sam_unet": "sam.pth"},
        ),
    ],
)
def test_each_architecture_takes_what_is_meant_for_it(flags, expected):
    spec = read(*flags)
    assert {name: Arm(name, 5).weights(spec) for name in expected} == expected


@pytest.mark.parametrize(
    ("name", "flags", "label"),
    [
        ("sam_unet", ["--profile", "full", "--weights", "sam_vit_b=sam.pth"], "sam_unet"),
        ("sam_unet", ["--profile", "full", "--weights", "none"], "sam_unet (random encoder)"),
        ("sam_unet", ["--profile", "smoke", "--weights", "imagenet"], "sam_unet (small random encoder)"),
        ("unet_resnet34", ["--profile", "full", "--weights", "none"], "unet_resnet34"),
    ],
)
def test_label_tells_a_random_encoder(name, flags, label):
    assert Arm(name, 5).label(read(*flags)) == label


def test_trial_gets_its_encoders_weights_and_their_digest():
    spec = read("--profile", "full", "--weights", "sam_vit_b=sam.pth", "resnet34=none")
    digests = {"sam_vit_b": "5a" * 32, "resnet34": "34" * 32}
    got = {
        name: (config.weights, config.weights_digest)
        for name in ("unet", "unet_resnet34", "sam_unet")
        for config in [Arm(name, 5).config(spec, {"lr": 1e-3}, digests, init_seed=0)]
    }
    assert got == {"unet": ("none", None), "unet_resnet34": ("none", None), "sam_unet": ("sam.pth", "5a" * 32)}
    other = Arm("sam_unet", 5).config(spec, {"lr": 1e-3}, digests | {"sam_vit_b": "5b" * 32}, init_seed=0)
    assert other.signature() != Arm("sam_unet", 5).config(spec, {"lr": 1e-3}, digests, init_seed=0).signature()


# Their files


def test_files_are_found_with_absolute_paths_and_digests(files, hub):
    spec, digests = _find_weights(read("--profile", "full", "--weights", "sam_vit_b=a=b/sam.pth"))
    assert Arm("unet_resnet34", 5).weights(spec) == "imagenet"
    assert Arm("sam_unet", 5).weights(spec) == str(files / "a=b" / "sam.pth")
    assert digests == {"resnet34": digest(hub), "sam_vit_b": digest(files / "sam.pth")}


@pytest.mark.parametrize(
    "flags",
    [
        ["--profile", "full", "--weights", "sam_vit_b=sam.pth"],
        ["--profile", "full", "--weights", "none"],
        ["--profile", "full", "--architectures", "unet"],
        ["--profile", "smoke", "--weights", "resnet34.pth"],
        ["--profile", "smoke", "--weights", "imagenet"],
        ["--profile", "quick", "--weights", "resnet34=imagenet"],
        ["--profile", "quick"],
    ],
    ids=" ".join,
)
def test_frozen_spec_finds_the_same_files_again(flags, files, hub):
    spec, digests = _find_weights(read(*flags))
    again = read_file(files / "study.yaml", yaml.safe_dump(spec.flat()))
    for name in spec.architectures:
        assert Arm(name, 5).weights(again) == Arm(name, 5).weights(spec)
        assert Arm(name, 5).label(again) == Arm(name, 5).label(spec)
    assert _find_weights(again) == (spec, digests)


def test_study_over_small_encoders_needs_no_file(files):
    spec, digests = _find_weights(read("--profile", "smoke"))
    assert digests == {}
    assert set(spec.weights) == {"resnet34=none", "sam_vit_b=none"}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--weights none sam=sam.pth", "--weights sam=sam.pth is for 'sam', but must be for one of"),
        ("--profile full --weights sam.pth", "--weights sam.pth is one file, but resnet34 and sam_vit_b need one each"),
        ("--architectures unet --weights sam.pth", "--weights sam.pth is taken by none of the architectures (unet)"),
        ("--weights resnet34=none resnet34=resnet34.pth", "--weights has none and resnet34.pth for resnet34"),
        ("--weights resnet34=nowhere.pth", "--weights nowhere.pth is no file"),
        # Nobody needs it, but a mistake is told all the same
        ("--architectures unet --weights resnet34=nowhere.pth", "--weights nowhere.pth is no file"),
        (
            "--profile smoke --architectures unet_resnet34 --weights resnet34.pth",
            "{files}/resnet34.pth does not fit a resnet34 encoder",
        ),
        (
            "--profile smoke --architectures sam_conv --weights sam_vit_b=sam.pth",
            "--weights {files}/sam.pth is for the full sam_vit_b, but the small sam_conv has a random encoder: drop",
        ),
    ],
)
def test_weights_that_cannot_be_are_refused_before_anything_is_written(flags, words, files, dataset_root):
    spec = read("--data", str(dataset_root), *flags.split())
    before = sorted(files.rglob("*"))
    with pytest.raises(UserError) as refused:
        run_study(spec, out=files / "out", console=Console(quiet=True))
    assert str(refused.value).startswith(words.format(files=files))
    assert sorted(files.rglob("*")) == before


# Architectures by name


def test_name_says_whether_its_encoder_has_weights():
    names = [f"unet:efficientnet_lite0{adaptation}" for adaptation in ("", "@frozen", "@full", "@scratch")]
    spec, digests = _find_weights(read("--profile", "quick", "--architectures", *names))
    assert [Arm(name, 24).weights(spec) for name in names] == ["imagenet"] * 3 + ["none"]
    assert list(digests) == ["efficientnet_lite0"]
    configs = [Arm(name, 24).config(spec, {}, digests, init_seed=0) for name in names]
    assert [config.frozen_epochs for config in configs] == [spec.recipe.epochs // 3, 0, 0, 0]
    assert [config.weights_digest for config in configs] == [digests["efficientnet_lite0"]] * 3 + [None]
    assert _find_weights(spec)[0].weights == spec.weights  # as when the study is resumed


def test_one_encoder_with_two_kinds_of_weights_in_a_study_is_refused():
    spec = read("--profile", "quick", "--architectures", "unet_resnet34", "unet:resnet34")
    with pytest.raises(UserError, match=r"resnet34.*--weights resnet34=…$"):
        _find_weights(spec)
