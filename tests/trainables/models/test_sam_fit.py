"""Trials over SAM's frozen encoder: what is trained, judged, written and loaded, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables.checkpoints import BEST, NEWEST, load, load_model, save
from trainables.checks import check
from trainables.config import TrialConfig
from trainables.data.bands import band_statistics
from trainables.models import sam
from trainables.models.architectures import ARCHITECTURES
from trainables.models.model_spec import ModelSpec
from trainables.predict import evaluate
from trainables.records import EpochRecord
from trainables.training import TrainingState
from trainables.trial import fit

CPU = torch.device("cpu")
NAMES = ["sam_conv", "sam_unet"]
SMALL = ModelSpec(num_bands=3, num_outputs=1, small=True)
NUM_FROZEN = 5_576_896
"""Parameters of the small encoder (seen)."""

URL = "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth"


def steps(state: TrainingState, num_steps: int) -> TrainingState:
    """The state after some training steps on noise."""
    torch.manual_seed(0)
    state.start_epoch(1)
    for _ in range(num_steps):
        state.train_step(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8), torch.randint(0, 2, (2, 64, 64)))
    return state


@pytest.fixture
def pretrained(monkeypatch: pytest.MonkeyPatch, make_config: Callable[..., TrialConfig]) -> Callable[..., TrialConfig]:
    """Configurations with weights, whose encoder is the small random one for speed."""

    def make(name: str, **changes: Any) -> TrialConfig:
        row = ARCHITECTURES[name]
        monkeypatch.setitem(
            ARCHITECTURES, name, replace(row, build=lambda spec: row.build(replace(spec, weights="none", small=True)))
        )
        return make_config(architecture=name, weights="sam.pth", weights_digest="ab" * 32, small=False, **changes)

    return make


# Training


@pytest.mark.parametrize("ema_decay", [None, 0.9])
@pytest.mark.parametrize("name", NAMES)
def test_training_changes_the_decoder_and_not_the_encoder(make_config, tiles, name, ema_decay):
    state = TrainingState(make_config(architecture=name, lr=0.1, ema_decay=ema_decay), tiles, CPU)
    encoder = {key: value.clone() for key, value in state.model.encoder.vit.state_dict().items()}
    decoder = {key: value.clone() for key, value in state.evaluated.state_dict().items()}
    steps(state, 3)
    after = state.model.encoder.vit.state_dict()
    assert [key for key, value in encoder.items() if not torch.equal(after[key], value)] == []
    trained = state.evaluated.state_dict()
    parameters = [name for name, _ in state.model.named_parameters() if name in decoder]
    assert len(parameters) > 10
    assert [key for key in parameters if torch.equal(trained[key], decoder[key])] == []
    assert not any(module.training for module in state.model.encoder.modules())


@pytest.mark.parametrize("name", NAMES)
def test_optimizer_holds_the_decoders_parameters_alone(make_config, tiles, name):
    state = steps(TrainingState(make_config(architecture=name), tiles, CPU), 1)
    decoder = {id(p) for n, p in state.model.named_parameters() if not n.startswith("network.encoder.")}
    assert {id(p) for group in state.optimizer.param_groups for p in group["params"]} == decoder
    assert {id(p) for p in state.optimizer.state} == decoder


def test_moving_average_shares_the_encoder(make_config, tiles):
    state = TrainingState(make_config(architecture="sam_conv", ema_decay=0.9), tiles, CPU)
    assert state.evaluated is not state.model
    assert state.evaluated.encoder is state.model.encoder
    assert state.evaluated.network.head is not state.model.network.head


@pytest.mark.parametrize("name", NAMES)
def test_pretrained_encoder_is_not_unfrozen(pretrained, tiles, name):
    config = pretrained(name, frozen_fraction=0.5)
    assert (config.is_pretrained, config.frozen_epochs) == (True, 0)
    state = TrainingState(config, tiles, CPU)
    for epoch in (1, 2):
        state.start_epoch(epoch)
        assert not any(parameter.requires_grad for parameter in state.model.encoder.parameters())
        assert state.lr == 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_models_know_the_one_side_that_they_take(pretrained, make_config, tiles, name):
    assert TrainingState(pretrained(name), tiles, CPU).model.only_px == 1024
    assert TrainingState(make_config(architecture=name), tiles, CPU).model.only_px is None


@pytest.mark.parametrize("name", NAMES)
def test_pretrained_encoder_sees_what_it_was_trained_on(pretrained, make_config, tiles, name):
    # pixel_mean and pixel_std of segment-anything over 255
    model = TrainingState(pretrained(name), tiles, CPU).model
    assert model.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert model.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])


@pytest.mark.parametrize("name", NAMES)
def test_random_encoder_sees_the_tiles_own_statistics(make_config, tiles, name):
    state = TrainingState(make_config(architecture=name), tiles, CPU)
    mean, std = band_statistics(state.tiles.train, 1 / 255)
    assert state.model.mean.flatten().tolist() == pytest.approx(mean)
    assert state.model.std.flatten().tolist() == pytest.approx(std)


@pytest.mark.parametrize(("name", "num_steps"), [("unet", 2), ("sam_conv", 4), ("sam_unet", 4)])
def test_epoch_has_batches_of_the_architectures_size(make_config, tiles, monkeypatch, name, num_steps):
    # Eight draws: two batches of 4, or four of 2
    sizes: list[int] = []
    original = TrainingState.train_step

    def step(self: TrainingState, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return original(self, images, masks)

    monkeypatch.setattr(TrainingState, "train_step", step)
    list(fit(make_config(architecture=name, batch_size=None, draws_per_epoch=8, epochs=1), tiles))
    assert sizes == [8 // num_steps] * num_steps


# Checkpoints


@pytest.mark.parametrize("ema_decay", [None, 0.9])
@pytest.mark.parametrize("name", NAMES)
def test_load_model_predicts_what_was_trained(make_config, tiles, tmp_path, name, ema_decay):
    state = steps(TrainingState(make_config(architecture=name, lr=1e-2, ema_decay=ema_decay), tiles, CPU), 3)
    record = EpochRecord(
        epoch=1, metrics={"val/iou": 0.5}, lr=1e-2, judged=0.5, best=0.5, best_epoch=1, ended="", seconds=1.0
    )
    save(tmp_path / BEST, state.best_content(record))
    torch.manual_seed(99)
    trained = load_model(tmp_path / BEST)
    pixels = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        expected = state.evaluated.eval()(pixels)
        assert torch.allclose(trained.model(pixels), expected, atol=1e-5)
    assert expected.std() > 1e-3


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.9}, {"val_center_px": 48}], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_best_checkpoint_reproduces_the_best_record(make_config, tiles, tmp_path, name, changes):
    config = make_config(architecture=name, epochs=3, lr=3e-3, **changes)
    records = list(fit(config, tiles, checkpoints=tmp_path))
    best = records[records[-1].best_epoch - 1]
    trained = load_model(tmp_path / BEST)
    val = tiles.val.center_windows(48) if changes.get("val_center_px") else tiles.val
    result = evaluate(trained.model, val, trained.info, stride=trained.stride, loss=config.loss_function, device=CPU)
    # The loaded model keeps its weights in another memory order, so a pixel at probability 1/2 may change sides
    assert result.scores.iou == pytest.approx(best.judged, abs=2e-3)
    assert result.loss == pytest.approx(best.metrics["val/loss"], rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_hold_no_encoder(make_config, tiles, tmp_path, name):
    config = make_config(architecture=name, epochs=1, ema_decay=0.9)
    list(fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0))
    digest = sam._encoder(SMALL).digest
    trained = [p.numel() for p in ARCHITECTURES[name].build(SMALL).parameters() if p.requires_grad]
    for file, parts, copies in ((BEST, ("model",), 1), (NEWEST, ("model", "ema"), 4)):  # and Adam's two moments
        content = load(tmp_path / file)
        assert content["frozen_digest"] == digest
        for part in parts:
            assert [key for key in content[part] if "encoder" in key] == []
        assert (tmp_path / file).stat().st_size < 4 * copies * sum(trained) + 2**18  # names and buffers
    assert (tmp_path / NEWEST).stat().st_size < 4 * NUM_FROZEN
    assert len(load(tmp_path / NEWEST)["optimizer"]["state"]) == len(trained)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.9, "plateau_patience": 0}], ids=str)
def test_fit_resumes_with_the_same_records(make_config, tiles, tmp_path, name, changes):
    config = make_config(architecture=name, epochs=3, augmentation="EXTREME", **changes)
    whole = []
    for record in fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0):
        whole.append(record)
        (tmp_path / NEWEST).rename(tmp_path / f"{record.epoch}.pt")
    for epoch in (1, 2):
        assert list(fit(config, tiles, resume=tmp_path / f"{epoch}.pt")) == whole[epoch:]


# What is refused


@pytest.fixture
def checkpoints(make_config, tiles, tmp_path: Path) -> Path:
    """A folder with both checkpoints of one epoch."""
    list(fit(make_config(architecture="sam_conv", epochs=1), tiles, checkpoints=tmp_path, checkpoint_seconds=0))
    return tmp_path


def test_load_model_of_a_random_encoder_needs_no_file(checkpoints, tmp_path):
    trained = load_model(checkpoints / BEST, weights=str(tmp_path / "sam.pth"))
    assert trained.model.frozen_digest == sam._encoder(SMALL).digest


def test_load_model_refuses_another_frozen_encoder(checkpoints, refusal):
    path = checkpoints / BEST
    save(path, load(path) | {"frozen_digest": "0123456789abcdef" * 4})
    assert refusal(lambda: load_model(path)) == (
        f"{path} was trained over a frozen encoder of digest 0123456789ab, but this one is "
        f"{sam._encoder(SMALL).digest[:12]}: use the same encoder weights and library versions"
    )


def test_fit_refuses_to_resume_over_another_frozen_encoder(checkpoints, tiles, make_config, refusal):
    path = checkpoints / NEWEST
    save(path, load(path) | {"frozen_digest": "0123456789abcdef" * 4})
    config = make_config(architecture="sam_conv", epochs=1)
    assert refusal(lambda: next(fit(config, tiles, resume=path))) == (
        f"{path} was trained over a frozen encoder of digest 0123456789ab, but this one is "
        f"{sam._encoder(SMALL).digest[:12]}: use the same encoder weights and library versions"
    )


def test_load_model_refuses_a_frozen_encoder_whose_file_is_gone(checkpoints, tmp_path, refusal):
    path, gone, other = checkpoints / BEST, tmp_path / "gone.pth", tmp_path / "other.pth"
    content = load(path)
    config = json.loads(content["config"])
    config["recipe"]["small"] = False
    save(path, content | {"config": json.dumps(config | {"weights": str(gone), "weights_digest": "ab" * 32})})
    for weights, needed in ((None, gone), (str(other), other)):
        assert refusal(lambda w=weights: load_model(path, weights=w)) == (
            f"{path} leaves out its frozen encoder, whose weights {needed} do not exist: pass the path of that file"
        )
    other.write_bytes(b"something else")
    assert refusal(lambda: load_model(path, weights=str(other))).startswith(f"--weights {other} has SHA-256 ")


def test_build_refuses_weights_that_are_not_the_published_ones(tmp_path, refusal):
    path = tmp_path / "sam.pth"
    path.write_bytes(b"abc")  # FIPS 180-2, example B.1
    for weights, message in (
        (
            path,
            f"--weights {path} has SHA-256 ba7816bf8f01…, but sam_vit_b_01ec64.pth has ec2df6273261…: "
            f"fetch {URL} again",
        ),
        (
            "imagenet",
            f"--weights imagenet has nothing for sam_vit_b: fetch {URL} and pass it as --weights sam_vit_b=PATH",
        ),
        ("nowhere.pth", "--weights nowhere.pth is no file, but must be imagenet, none or a state dict: check the path"),
    ):
        spec = ModelSpec(num_bands=3, num_outputs=1, weights=str(weights))
        assert refusal(lambda s=spec: sam.sam_conv(s)) == message


def test_check_refuses_weights_for_the_small_variant(make_config, tiles, refusal):
    words = "--weights sam.pth is for the full sam_vit_b, but the small sam_unet has a random encoder: "
    config = make_config(architecture="sam_unet", weights="sam.pth")
    assert refusal(lambda: check(config, tiles)) == f"{words}drop these weights"  # tiles of 64 px
    whole = of_sides(tiles, WHOLE, WHOLE)
    message = refusal(lambda: check(config, whole))
    assert message == f"{words}drop these weights, or take the full one with --no-small"


def of_sides(tiles: Any, train: tuple[int, int], val: tuple[int, int]) -> Any:
    """Black tiles, all of the train tiles and of the val tiles of one (height, width)."""
    splits = {}
    for name, side in (("train", train), ("val", val)):
        split = getattr(tiles, name)
        images, masks = np.zeros((*side, 3), np.uint8), np.zeros(side, np.uint8)
        splits[name] = replace(split, images=(images,) * len(split), masks=(masks,) * len(split))
    return replace(tiles, **splits)


WHOLE = (1024, 1024)


@pytest.mark.parametrize("name", NAMES)
def test_check_accepts_whole_tiles_for_the_full_variant(make_config, tiles, name):
    whole = of_sides(tiles, WHOLE, WHOLE)
    check(make_config(architecture=name, small=False), whole)
    check(make_config(architecture=name, small=False, window_px=1024, val_center_px=1024), whole)
    check(make_config(architecture=name, small=True, window_px=64, val_center_px=48), tiles)


def test_check_accepts_windows_of_larger_tiles_and_any_val_tiles_for_the_full_variant(make_config, tiles):
    config = make_config(architecture="sam_conv", small=False, window_px=1024)
    check(config, of_sides(tiles, (1024, 1500), (700, 5000)))
    check(make_config(architecture="sam_conv", small=False), of_sides(tiles, WHOLE, (1000, 1024)))


@pytest.mark.parametrize(
    ("field", "flag", "use"), [("window_px", "--window-px", 1024), ("val_center_px", "--val-center-px", "none")]
)
def test_check_refuses_windows_of_another_side_for_the_full_variant(make_config, tiles, field, flag, use, refusal):
    config = make_config(architecture="sam_conv", small=False, **{field: 512})
    assert refusal(lambda: check(config, of_sides(tiles, WHOLE, WHOLE))) == (
        f"{flag} is 512, but sam_conv takes 1024 px only: use {flag} {use}, or take the small variant with --small"
    )


@pytest.mark.parametrize(
    ("train", "size", "use"),
    [
        ((512, 512), "512×512", "tiles of 1024×1024 px"),
        ((1024, 512), "512×1024", "tiles of 1024×1024 px"),
        ((1024, 2048), "2048×1024", "--window-px 1024"),
    ],
)
def test_check_refuses_train_tiles_of_other_sides_for_the_full_variant(make_config, tiles, train, size, use, refusal):
    config = make_config(architecture="sam_unet", small=False)
    message = refusal(lambda: check(config, of_sides(tiles, train, WHOLE)))
    assert message.startswith(f"tile train_0 is {size} px, but sam_unet takes 1024 px only: use {use}")
    assert message.endswith(", or take the small variant with --small") == (train[0] == train[1])


def test_check_names_all_that_the_full_variant_needs(make_config, tiles, refusal):
    config = make_config(architecture="sam_unet", small=False, weights="sam.pth", window_px=64, val_center_px=48)
    assert refusal(lambda: check(config, tiles)) == (
        "tile train_0 is 64×64 px, but sam_unet takes 1024 px only: use tiles of 1024×1024 px and --window-px 1024 and "
        "--val-center-px none"
    )
