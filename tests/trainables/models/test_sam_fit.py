"""Trials over a frozen encoder: what is trained, written and loaded, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.checkpoints import BEST, NEWEST, load, load_model, save
from trainables.config import TrialConfig
from trainables.data.bands import band_statistics
from trainables.models import sam
from trainables.models.architectures import ARCHITECTURES
from trainables.models.spec import ModelSpec
from trainables.training import TrainingState
from trainables.trial import fit

CPU = torch.device("cpu")
SMALL = ModelSpec(num_bands=3, num_outputs=1, small=True)
NUM_FROZEN = 5_576_896
"""Parameters of the small encoder (seen)."""


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


@pytest.mark.parametrize(("name", "ema_decay"), [("sam_conv", None), ("sam_unet", 0.9)])
def test_training_changes_the_decoder_and_not_the_encoder(make_config, tiles, name, ema_decay):
    state = TrainingState(make_config(architecture=name, lr=0.1, ema_decay=ema_decay), tiles, CPU)
    encoder = {key: value.clone() for key, value in state.model.encoder.inner.state_dict().items()}
    before = {key: value.clone() for key, value in state.evaluated.state_dict().items()}
    torch.manual_seed(0)
    state.start_epoch(1)
    for _ in range(3):
        state.train_step(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8), torch.randint(0, 2, (2, 64, 64)))
    after, trained = state.model.encoder.inner.state_dict(), state.evaluated.state_dict()
    assert [key for key, value in encoder.items() if not torch.equal(after[key], value)] == []
    decoder = {key: parameter for key, parameter in state.model.named_parameters() if key in before}
    assert len(decoder) > 10
    assert [key for key in decoder if torch.equal(trained[key], before[key])] == []
    assert not any(module.training for module in state.model.encoder.modules())
    ids = {id(parameter) for parameter in decoder.values()}
    assert {id(p) for group in state.optimizer.param_groups for p in group["params"]} == ids
    assert {id(p) for p in state.optimizer.state} == ids
    assert state.evaluated.encoder is state.model.encoder  # shared by the moving average
    assert (state.evaluated is state.model) == (ema_decay is None)


def test_pretrained_encoder_is_never_unfrozen_and_sees_what_it_was_trained_on(pretrained, make_config, tiles):
    config = pretrained("sam_conv", frozen_fraction=0.5)
    assert (config.is_pretrained, config.frozen_epochs) == (True, 0)
    state = TrainingState(config, tiles, CPU)
    for epoch in (1, 2):
        state.start_epoch(epoch)
        assert not any(parameter.requires_grad for parameter in state.model.encoder.parameters())
        assert state.lr == 1e-3
    assert state.model.only_px == 1024
    # pixel_mean and pixel_std of segment-anything over 255
    assert state.model.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert state.model.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
    # A random one sees the tiles' own statistics, and takes any side
    state = TrainingState(make_config(architecture="sam_conv"), tiles, CPU)
    mean, std = band_statistics(state.tiles.train, 1 / 255)
    assert state.model.mean.flatten().tolist() == pytest.approx(mean)
    assert state.model.std.flatten().tolist() == pytest.approx(std)
    assert state.model.only_px is None


def test_epoch_has_batches_of_the_architectures_size(make_config, tiles, monkeypatch):
    sizes: list[int] = []
    original = TrainingState.train_step

    def step(self: TrainingState, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return original(self, images, masks)

    monkeypatch.setattr(TrainingState, "train_step", step)
    list(fit(make_config(architecture="sam_conv", batch_size=None, draws_per_epoch=5, epochs=1), tiles))
    assert sizes == [2, 2]


# Checkpoints


@pytest.fixture(scope="module")
def trained(make_config, tiles, tmp_path_factory) -> Path:
    """A folder with both checkpoints of one epoch, which no test changes."""
    folder = tmp_path_factory.mktemp("sam_conv")
    config = make_config(architecture="sam_conv", epochs=1, ema_decay=0.9)
    list(fit(config, tiles, checkpoints=folder, checkpoint_seconds=0))
    return folder


def test_checkpoints_hold_no_encoder_and_a_random_one_needs_no_file(trained, tmp_path):
    digest = sam._encoder(SMALL).digest
    assert load_model(trained / BEST, weights=str(tmp_path / "sam.pth")).model.frozen_digest == digest
    sizes = [p.numel() for p in ARCHITECTURES["sam_conv"].build(SMALL).parameters() if p.requires_grad]
    for file, parts, copies in ((BEST, ("model",), 1), (NEWEST, ("model", "ema"), 4)):  # and Adam's two moments
        content = load(trained / file)
        assert content["frozen_digest"] == digest
        for part in parts:
            assert [key for key in content[part] if "encoder" in key] == []
        assert (trained / file).stat().st_size < 4 * copies * sum(sizes) + 2**18  # names and buffers
    assert (trained / NEWEST).stat().st_size < 4 * NUM_FROZEN
    assert len(load(trained / NEWEST)["optimizer"]["state"]) == len(sizes)


def test_load_model_takes_the_encoder_from_where_it_lies_now(pretrained, tiles, save_best, tmp_path, monkeypatch):
    config = pretrained("sam_conv")
    model = save_best(tmp_path / BEST, config, tiles.info)
    here, row, asked = tmp_path / "here.pth", ARCHITECTURES["sam_conv"], []
    here.touch()
    spied = replace(row, build=lambda spec: asked.append((spec.weights, spec.weights_digest)) or row.build(spec))
    monkeypatch.setitem(ARCHITECTURES, "sam_conv", spied)
    loaded = load_model(tmp_path / BEST, weights=str(here))
    assert asked == [(str(here), None)]  # its tensors are compared, not the bytes of its file
    assert loaded.config == config
    assert loaded.model.frozen_digest == model.frozen_digest
    assert torch.equal(loaded.model.network.head.weight, model.network.head.weight)


def test_another_frozen_encoder_is_refused(trained, tiles, make_config, tmp_path, refusal):
    best, newest = tmp_path / BEST, tmp_path / NEWEST
    config = make_config(architecture="sam_conv", epochs=1, ema_decay=0.9)
    for path, take in ((best, lambda: load_model(best)), (newest, lambda: next(fit(config, tiles, resume=newest)))):
        save(path, load(trained / path.name) | {"frozen_digest": "0123456789abcdef" * 4})
        assert refusal(take).startswith(
            f"{path} was trained over a frozen encoder of digest 0123456789ab, but this one is "
            f"{sam._encoder(SMALL).digest[:12]}: "
        )


def test_load_model_refuses_a_frozen_encoder_whose_file_is_gone(trained, tmp_path, refusal):
    path, gone, other = tmp_path / BEST, tmp_path / "gone.pth", tmp_path / "other.pth"
    content = load(trained / BEST)
    config = json.loads(content["config"])
    config["recipe"]["small"] = False
    save(path, content | {"config": json.dumps(config | {"weights": str(gone), "weights_digest": "ab" * 32})})
    for weights, needed in ((None, gone), (str(other), other)):
        assert refusal(lambda w=weights: load_model(path, weights=w)) == (
            f"{path} leaves out its frozen encoder, whose weights {needed} do not exist: pass the path of that file"
        )
    other.write_bytes(b"something else")
    assert refusal(lambda: load_model(path, weights=str(other))).startswith(f"--weights {other} has SHA-256 ")
