"""`--weights`: one choice for all encoders, others for single ones, and the files that are checked before a study."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from studies import command_line as cli
from studies.inputs import _find_weights
from studies.spec import Arm, StudySpec
from studies.study import run_study
from trainables.common.errors import UserError
from trainables.common.whole_files import digest
from trainables.models import weights as weights_module
from trainables.models.weights import PUBLISHED

URL = "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth"


def read(*flags: str) -> StudySpec:
    return cli.read_command_line(flags, phase="phase2_tuning", description="").spec


def read_file(path: Path, text: str, *flags: str) -> StudySpec:
    path.write_text(text, encoding="utf-8")
    return read("--config", str(path), *flags)


def taken(spec: StudySpec, *architectures: str) -> list[str]:
    """The weights of these architectures' arms."""
    return [Arm(name, 5).weights(spec) for name in architectures]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `resnet34.pth` and `sam.pth`, the latter taken for the published one, as current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").mkdir()
    for name, content in (("resnet34.pth", b"resnet"), ("sam.pth", b"sam"), ("a=b/sam.pth", b"sam")):
        (tmp_path / name).write_bytes(content)
    monkeypatch.setitem(PUBLISHED, "sam_vit_b", replace(PUBLISHED["sam_vit_b"], sha256=digest(tmp_path / "sam.pth")))
    return tmp_path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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
    ("profile", "given", "expected"),
    [
        ("quick", [], ("none",)),
        ("smoke", [], ("none",)),
        ("full", [], ("imagenet",)),
        ("quick", ["imagenet"], ("imagenet",)),
        ("full", ["none"], ("none",)),
        ("full", ["encoder.pth"], ("encoder.pth",)),
        # Choices for single encoders add to the profile's
        ("full", ["sam_vit_b=sam.pth"], ("imagenet", "sam_vit_b=sam.pth")),
        ("quick", ["sam_vit_b=sam.pth"], ("sam_vit_b=sam.pth",)),
        ("full", ["sam_vit_b=sam.pth", "resnet34=r.pth"], ("imagenet", "sam_vit_b=sam.pth", "resnet34=r.pth")),
        # With a choice for all among them, nothing of the profile is left
        ("full", ["none", "sam_vit_b=sam.pth"], ("none", "sam_vit_b=sam.pth")),
        ("full", ["sam_vit_b=sam.pth", "runs/a=b/x.pth"], ("sam_vit_b=sam.pth", "runs/a=b/x.pth")),
    ],
)
def test_weights_for_single_encoders_add_to_the_profiles(
    profile: str, given: list[str], expected: tuple[str, ...]
) -> None:
    assert read("--profile", profile, *(["--weights", *given] if given else [])).weights == expected


def test_full_with_sams_weights_keeps_imagenet_for_the_others() -> None:
    spec = read("--profile", "full", "--weights", "sam_vit_b=sam.pth")
    names = ("unet", "unet_resnet34", "deeplabv3plus_resnet34", "sam_conv", "sam_unet")
    assert taken(spec, *names) == ["none", "imagenet", "imagenet", "sam.pth", "sam.pth"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("weights: imagenet\n", ("imagenet",)),
        ("weights: runs/a=b/x.pth\n", ("runs/a=b/x.pth",)),
        ("weights: sam_vit_b=sam.pth\n", ("sam_vit_b=sam.pth",)),
        ("profile: full\nweights: sam_vit_b=sam.pth\n", ("imagenet", "sam_vit_b=sam.pth")),
        ("weights: [none, sam_vit_b=sam.pth]\n", ("none", "sam_vit_b=sam.pth")),
        (
            "profile: full\nweights:\n- sam_vit_b=sam.pth\n- resnet34=none\n",
            ("imagenet", "sam_vit_b=sam.pth", "resnet34=none"),
        ),
    ],
)
def test_weights_of_a_file_are_one_choice_or_a_list(text: str, expected: tuple[str, ...], tmp_path: Path) -> None:
    assert read_file(tmp_path / "study.yaml", text).weights == expected


def test_weights_of_a_flag_win_over_those_of_a_file(tmp_path: Path) -> None:
    text = "profile: full\nweights: [none, resnet34=r.pth]\n"
    spec = read_file(tmp_path / "study.yaml", text, "--weights", "sam_vit_b=sam.pth")
    assert spec.weights == ("imagenet", "sam_vit_b=sam.pth")


@pytest.mark.parametrize(
    "text", ["weights: []\n", "weights: [1]\n", "weights: {sam_vit_b: sam.pth}\n", "weights:\n", "weights: 1.5\n"]
)
@pytest.mark.parametrize("profile", ["quick", "full"])
def test_weights_of_a_file_that_are_no_choices_are_refused(text: str, profile: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--weights is .*$"):
        read_file(tmp_path / "study.yaml", f"profile: {profile}\n{text}")


# Whose they are


def test_small_sam_stays_random_whatever_is_meant_for_all() -> None:
    for given in ("imagenet", "encoder.pth"):
        spec = read("--profile", "quick", "--weights", given)
        assert spec.recipe.small
        assert taken(spec, "unet", "unet_resnet34", "sam_conv", "sam_unet") == ["none", given, "none", "none"]
        assert Arm("sam_unet", 5).label(spec) == "sam_unet (small random encoder)"
    # What names it is meant for it, and is refused later
    assert taken(read("--weights", "sam_vit_b=sam.pth"), "sam_unet") == ["sam.pth"]


def test_small_variants_take_nothing_that_is_meant_for_all() -> None:
    names = ("lavit", "segformer_mit_b3", "vit_gat", "deeplabv3_resnet50")
    assert taken(read("--profile", "quick", "--weights", "imagenet"), *names) == ["none"] * 4
    assert taken(read("--profile", "full"), *names) == ["none", "imagenet", "imagenet", "imagenet"]
    assert taken(read("--weights", "mit_b3=b3.pth", "deeplabv3_resnet50=coco"), *names) == [
        *("none", "b3.pth", "none", "coco"),
    ]


def test_label_of_a_full_sam_tells_a_random_encoder() -> None:
    arm = Arm("sam_unet", 5)
    assert arm.label(read("--profile", "full", "--weights", "sam_vit_b=sam.pth")) == "sam_unet"
    assert arm.label(read("--profile", "full", "--weights", "none")) == "sam_unet (random encoder)"
    assert Arm("unet_resnet34", 5).label(read("--profile", "full", "--weights", "none")) == "unet_resnet34"


def test_trial_gets_its_encoders_weights_and_their_digest() -> None:
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


def test_files_are_found_with_absolute_paths_and_digests(files: Path, hub: Path) -> None:
    spec, digests = _find_weights(read("--profile", "full", "--weights", "sam_vit_b=a=b/sam.pth"))
    assert taken(spec, "unet_resnet34", "sam_unet") == ["imagenet", str(files / "a=b" / "sam.pth")]
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
def test_frozen_spec_finds_the_same_files_again(flags: list[str], files: Path, hub: Path) -> None:
    spec, digests = _find_weights(read(*flags))
    again = read_file(files / "study.yaml", yaml.safe_dump(spec.flat()))
    for name in spec.architectures:
        assert Arm(name, 5).weights(again) == Arm(name, 5).weights(spec)
        assert Arm(name, 5).label(again) == Arm(name, 5).label(spec)
    assert _find_weights(again) == (spec, digests)


def test_study_over_small_encoders_needs_no_file(files: Path) -> None:
    spec, digests = _find_weights(read("--profile", "smoke"))
    assert digests == {}
    assert set(spec.weights) == {"resnet34=none", "sam_vit_b=none"}


FULL = ["--profile", "full", "--weights"]
REFUSED: dict[str, tuple[list[str], str]] = {
    "unknown encoder": (
        ["--weights", "none", "sam=sam.pth"],
        "--weights sam=sam.pth is for 'sam', but must be for one of deeplabv3_resnet50, mit_b3, resnet34, "
        "sam_vit_b, vit_small_patch16_224",
    ),
    "one file for two encoders": (
        [*FULL, "sam.pth"],
        "--weights sam.pth is one file, but resnet34 and sam_vit_b need one each: write ENCODER=PATH",
    ),
    "for nobody": (
        ["--architectures", "unet", "--weights", "sam.pth"],
        "--weights sam.pth is taken by none of the architectures (unet): leave it out",
    ),
    "missing, for nobody": (
        ["--architectures", "unet", "--weights", "resnet34=nowhere.pth"],
        "--weights nowhere.pth is no file, but must be imagenet, none or a state dict: check the path",
    ),
    "one encoder twice": (
        [*FULL, "resnet34=none", "resnet34=resnet34.pth"],
        "--weights has none and resnet34.pth for resnet34, but one only can be: name it once",
    ),
    "two for all": (
        [*FULL, "none", "sam.pth"],
        "--weights has none and sam.pth for every encoder, but one only can be: write the others as ENCODER=WEIGHTS",
    ),
    "no file": (
        [*FULL, "none", "sam_vit_b=nowhere.pth"],
        "--weights nowhere.pth is no file, but must be imagenet, none or a state dict: check the path",
    ),
    "imagenet for SAM": (
        ["--profile", "full"],
        f"--weights imagenet has nothing for sam_vit_b: fetch {URL} and pass it as --weights sam_vit_b=PATH",
    ),
    "another file": (
        [*FULL, "none", "sam_vit_b=resnet34.pth"],
        "--weights resnet34.pth has SHA-256 {other}…, but sam_vit_b_01ec64.pth has {published}…: "
        f"fetch {URL} again",
    ),
    "COCO for all": (
        ["--architectures", "unet_resnet34", "deeplabv3_resnet50", "--no-small", "--weights", "coco"],
        "--weights coco is for deeplabv3_resnet50 only, but resnet34 would take it too: write deeplabv3_resnet50=coco, "
        "and imagenet, none or a path for the others",
    ),
    "small with weights": (
        ["--architectures", "sam_conv", "--weights", "sam_vit_b=sam.pth"],
        "--weights {path} is for the full sam_vit_b, but the small sam_conv has a random encoder: drop these weights",
    ),
    "small with weights, not frozen": (
        ["--architectures", "segformer_mit_b3", "--weights", "mit_b3=sam.pth"],
        "--weights {path} is for the full mit_b3, but the small segformer_mit_b3 has a random encoder: drop these "
        "weights, or take the full one with --no-small",
    ),
    "tiles for the full SAM": (
        [*FULL, "none", "--architectures", "sam_conv"],
        "tile {tile} is 128×128 px, but sam_conv takes 1024 px only: use tiles of 1024×1024 px, or take the small "
        "variant with --small",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_weights_that_cannot_be_are_refused_before_anything_is_written(
    case: str, files: Path, hub: Path, dataset_root: Path
) -> None:
    flags, message = REFUSED[case]
    spec = read("--data", str(dataset_root), *flags)
    before = sorted(files.rglob("*"))
    with pytest.raises(UserError) as caught:
        run_study(spec, out=files / "out", console=Console(quiet=True))
    words = {"path": str(files / "sam.pth"), "other": digest(files / "resnet34.pth")[:12]}
    words |= {"published": digest(files / "sam.pth")[:12], "tile": tile_of(dataset_root)}
    assert str(caught.value) == message.format(**words)
    assert sorted(files.rglob("*")) == before


def tile_of(root: Path) -> str:
    """The first train tile."""
    return sorted(path.stem for path in (root / "train" / "images").iterdir())[0]
