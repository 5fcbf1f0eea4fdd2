"""SegFormer over MiT: nothing random but its decoder's dropout, its decoder of MLPs, its weights and bands."""

from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file
from timm.layers import DropPath
from torch import nn

from trainables.models import weights
from trainables.models.smp import segformer_mit_b3
from trainables.models.spec import ModelSpec


def spec(**changes: Any) -> ModelSpec:
    return ModelSpec(**{"num_bands": 3, "num_outputs": 2} | changes)


@pytest.fixture(scope="module")
def mit_b3(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], Path]:
    """A state dict with the layout of the hub's file, a classifier's head among it, and random values."""
    torch.manual_seed(2)
    state: dict[str, torch.Tensor] = smp.encoders.get_encoder("mit_b3", weights=None).state_dict()
    state |= {"head.weight": torch.zeros(1000, 512), "head.bias": torch.zeros(1000)}
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(state, path)
    return state, path


def test_weights_land_bit_by_bit_without_the_head(mit_b3):
    state, path = mit_b3
    loaded = segformer_mit_b3(spec(weights=str(path))).encoder.state_dict()
    assert set(state) - set(loaded) == {"head.weight", "head.bias"}
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())


def test_imagenet_is_the_hubs_file(mit_b3, monkeypatch):
    state, path = mit_b3
    asked = []

    def cached(repository: str, filename: str, **_: object) -> str:
        asked.append((repository, filename))
        return str(path)

    monkeypatch.setattr(weights.huggingface_hub, "hf_hub_download", cached)
    loaded = segformer_mit_b3(spec(weights="imagenet")).encoder.state_dict()
    assert asked == [("smp-hub/mit_b3.imagenet", "model.safetensors")]
    assert torch.equal(loaded["block3.17.attn.q.weight"], state["block3.17.attn.q.weight"])


@pytest.mark.parametrize("num_bands", [1, 4])
def test_weights_are_adapted_to_other_bands(num_bands, mit_b3):
    state, path = mit_b3
    first = segformer_mit_b3(spec(num_bands=num_bands, weights=str(path))).encoder.patch_embed1.proj
    three = state["patch_embed1.proj.weight"]
    expected = three.sum(dim=1, keepdim=True) if num_bands == 1 else three[:, [0, 1, 2, 0]] * 0.75
    assert torch.allclose(first.weight, expected)
    assert first.in_channels == num_bands


def test_weights_of_another_encoder_are_refused(tmp_path, refusal):
    path = tmp_path / "other.pth"
    torch.save(smp.encoders.get_encoder("mit_b0", weights=None).state_dict(), path)
    message = refusal(lambda: segformer_mit_b3(spec(weights=str(path))))
    assert message == f"{path} does not fit a mit_b3 encoder: pass a state dict of mit_b3"


def test_no_block_is_dropped_in_training():
    model = segformer_mit_b3(spec(small=True, decoder_dropout=0.3))
    paths = [module.drop_prob for module in model.modules() if isinstance(module, DropPath)]
    assert len(paths) == 7  # of eight blocks: the first never has one
    assert set(paths) == {0.0}


def test_decoder_drops_out_before_its_classifier_and_fuses_at_a_quarter():
    model = segformer_mit_b3(spec(small=True, decoder_dropout=0.3))
    (dropout,) = [module for module in model.modules() if isinstance(module, nn.Dropout2d)]
    seen = []
    dropout.register_forward_hook(lambda _, inputs, __: seen.append(tuple(inputs[0].shape)))
    model(torch.rand(2, 3, 64, 96))
    assert seen == [(2, 256, 16, 24)]
    assert dropout.p == 0.3
