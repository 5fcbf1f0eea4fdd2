"""SAM's encoder: what it gives, that nothing changes it, and its weights from the published file."""

import copy
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segment_anything import sam_model_registry
from torch import nn

from trainables.checkpoints import BEST, build_model, load_model, save
from trainables.common.whole_files import digest
from trainables.models import sam
from trainables.models.architectures import ARCHITECTURES, SAM
from trainables.models.segmenter import Segmenter
from trainables.models.spec import ModelSpec
from trainables.models.state_dicts import take_bands
from trainables.models.weights import PUBLISHED
from trainables.trial import fit

SMALL = ModelSpec(num_bands=3, num_outputs=1, decoder_dropout=0.3, small=True)
BUILDS = {"sam_conv": sam.sam_conv, "sam_unet": sam.sam_unet}


@pytest.fixture
def encoder() -> Any:
    return sam._encoder(SMALL)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[nn.Module, Path]]:
    """Segment-anything's own model with random weights, and a checkpoint of it as published."""
    torch.manual_seed(3)
    model = sam_model_registry["vit_b"]().eval()
    for name, parameter in model.image_encoder.named_parameters():
        if "pos" in name or name.endswith(("bias", "norm1.weight", "norm2.weight")):  # ones and zeros hide mistakes
            nn.init.normal_(parameter, mean=1.0 if "norm" in name else 0.0, std=0.1)
    path = tmp_path_factory.mktemp("sam") / "sam_vit_b.pth"
    torch.save(model.state_dict(), path)
    yield model, path
    path.unlink()


@pytest.fixture
def sam_file(reference: tuple[nn.Module, Path], monkeypatch: pytest.MonkeyPatch) -> str:
    """The checkpoint's path, taken for the published file."""
    path = reference[1]
    monkeypatch.setitem(PUBLISHED, "sam_vit_b", replace(PUBLISHED["sam_vit_b"], sha256=digest(path)))
    return str(path)


def first_weight(encoder: Any) -> torch.Tensor:
    weight: torch.Tensor = encoder.vit.patch_embed.proj.weight
    return weight


# What the encoder gives


def test_encoder_gives_the_neck_and_the_blocks_3_6_9_12(encoder):
    seen: dict[int, torch.Tensor] = {}
    for number, block in enumerate(encoder.vit.blocks, start=1):
        block.register_forward_hook(lambda _, __, output, number=number: seen.update({number: output}))
    pixels = torch.rand(2, 3, 32, 48)
    neck, skips = encoder(pixels)
    assert (len(seen), len(skips)) == (12, 4)
    for number, skip in zip((3, 6, 9, 12), skips, strict=True):
        assert skip.shape == (2, encoder.dim, 2, 3)
        assert torch.equal(skip[1, :, 0, 2], seen[number][1, 0, 2])
        assert torch.equal(skip.permute(0, 2, 3, 1), seen[number])
    assert neck.shape == (2, encoder.neck_dim, 2, 3)
    assert torch.equal(neck, encoder.vit(pixels))


def test_encoder_gives_no_graph(encoder):
    neck, skips = encoder(torch.rand(1, 3, 16, 16, requires_grad=True))
    assert [x.requires_grad for x in (neck, *skips)] == [False] * 5
    assert [name for name, parameter in encoder.named_parameters() if parameter.requires_grad] == []


# Nothing changes it


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_encoder_stays_in_eval_mode(build):
    model = build(SMALL).train()
    assert model.training
    assert model.decoder[0].training
    assert [name for name, module in model.encoder.named_modules() if module.training] == []


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_encoder_is_shared_by_copies(build):
    model = build(SMALL)
    other = copy.deepcopy(model)
    assert other.encoder is model.encoder
    assert other.head is not model.head
    assert torch.equal(other.head.weight, model.head.weight)


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_state_dict_leaves_the_encoder_out_and_nothing_else(build):
    torch.manual_seed(0)
    model = build(SMALL)
    state = model.state_dict()
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    assert set(state) == {name for name in tensors if not name.startswith("encoder.")}
    torch.manual_seed(1)
    other = build(SMALL)
    assert not torch.equal(other.head.weight, model.head.weight)
    other.load_state_dict(state)  # strict
    assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_load_state_dict_still_complains_about_the_rest(build):
    model = Segmenter(build(SMALL), SAM.mean, SAM.std)
    state = model.state_dict()
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict: \"network\.stem\.9\.weight\""):
        model.load_state_dict(state | {"network.stem.9.weight": torch.zeros(1)})
    for key in ("mean", "network.up.0.bias"):  # before and after the encoder
        some = {name: value for name, value in state.items() if name != key}
        with pytest.raises(RuntimeError, match=rf"Missing key\(s\) in state_dict: \"{re.escape(key)}\"\. "):
            model.load_state_dict(some)


def test_digest_is_of_the_weights_alone(encoder):
    again = sam._encoder(SMALL)
    again.to(memory_format=torch.channels_last)  # as in training
    assert len(encoder.digest) == 64
    assert again.digest == encoder.digest


@pytest.mark.parametrize("name", ["neck.3.bias", "blocks.11.attn.rel_pos_w", "patch_embed.proj.weight"])
def test_digest_changes_with_a_weight(encoder, name):
    other = sam._encoder(SMALL)
    with torch.no_grad():
        other.vit.get_parameter(name).view(-1)[-1] += 1e-3
    assert other.digest != encoder.digest


# Without weights


@pytest.mark.parametrize("num_bands", [3, 4])
def test_random_encoder_takes_nothing_of_torchs_generator(num_bands):
    spec = replace(SMALL, num_bands=num_bands)
    digests = set()
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        digests.add(sam._encoder(spec).digest)
        assert torch.equal(torch.get_rng_state(), before)
    assert len(digests) == 1


def test_random_encoder_is_one_for_both_architectures():
    assert sam.sam_conv(SMALL).encoder.digest == sam.sam_unet(SMALL).encoder.digest


# Weights of the published file


def test_full_encoder_is_segment_anythings():
    with torch.device("meta"):
        expected = sam_model_registry["vit_b"]().image_encoder.state_dict()
        vit = sam._encoder(replace(SMALL, small=False)).vit
    assert {key: value.shape for key, value in vit.state_dict().items()} == {k: v.shape for k, v in expected.items()}


@pytest.mark.parametrize("num_bands", [3, 4])
def test_weights_of_the_published_file_land_in_the_encoder(reference, sam_file, num_bands):
    model = sam.sam_conv(ModelSpec(num_bands=num_bands, num_outputs=1, weights=sam_file))
    state, expected = model.encoder.vit.state_dict(), reference[0].image_encoder.state_dict()
    if num_bands == 4:
        first = expected["patch_embed.proj.weight"]
        expected["patch_embed.proj.weight"] = torch.cat([first, first[:, :1]], dim=1) * 0.75
    assert set(state) == set(expected)
    assert [key for key, value in state.items() if not torch.equal(value, expected[key])] == []
    assert not any(parameter.requires_grad for parameter in model.encoder.parameters())


def test_weights_of_another_model_are_refused(tmp_path, monkeypatch, refusal):
    path = tmp_path / "other.pth"
    torch.save({"image_encoder.pos_embed": torch.zeros(3), "mask_decoder.x": torch.zeros(1)}, path)
    monkeypatch.setitem(PUBLISHED, "sam_vit_b", replace(PUBLISHED["sam_vit_b"], sha256=digest(path)))
    message = refusal(lambda: sam.sam_conv(ModelSpec(num_bands=3, num_outputs=1, weights=str(path))))
    assert message == f"{path} does not fit SAM's ViT-B: pass sam_vit_b_01ec64.pth"


def test_six_bands_that_repeat_three_are_embedded_alike(encoder):
    pixels = torch.rand(2, 3, 32, 48)
    expected = encoder.vit.patch_embed(pixels)
    take_bands(encoder.vit.patch_embed.proj, 6)
    assert first_weight(encoder).shape == (encoder.dim, 6, 16, 16)
    embedded = encoder.vit.patch_embed(torch.cat([pixels, pixels], dim=1))
    assert torch.allclose(embedded, expected, atol=1e-5)


def test_four_bands_take_the_first_again(encoder):
    red, green, blue = first_weight(encoder).detach().clone().unbind(dim=1)
    take_bands(encoder.vit.patch_embed.proj, 4)
    assert torch.equal(first_weight(encoder), torch.stack([red, green, blue, red], dim=1) * 0.75)


def test_one_band_takes_the_sum_of_the_three(encoder):
    weight = first_weight(encoder).detach().clone()
    take_bands(encoder.vit.patch_embed.proj, 1)
    assert torch.equal(first_weight(encoder), weight.sum(dim=1, keepdim=True))
    assert encoder.vit.patch_embed(torch.rand(2, 1, 32, 48)).shape == (2, 2, 3, encoder.dim)


def test_normalisation_is_segment_anythings(reference):
    model = reference[0]
    assert SAM.mean == pytest.approx((model.pixel_mean.flatten() / 255).tolist())
    assert SAM.std == pytest.approx((model.pixel_std.flatten() / 255).tolist())
    assert {ARCHITECTURES[name].normalisation for name in BUILDS} == {SAM}


def test_load_model_takes_the_encoder_from_where_it_lies_now(sam_file, make_config, tiles, tmp_path):
    changes = {"weights_digest": digest(Path(sam_file)), "small": False}
    config = make_config(architecture="sam_conv", weights=sam_file, **changes)
    model = build_model(config, tiles.info, [0.1] * 3, [0.2] * 3)
    moved = config.model_copy(update={"weights": str(tmp_path / "gone.pth")})
    content: dict[str, Any] = {"config": moved.model_dump_json(), "info": tiles.info.model_dump_json()}
    content |= {"epoch": 1, "metrics": {}, "frozen_digest": model.frozen_digest, "model": model.state_dict()}
    save(tmp_path / BEST, content)
    trained = load_model(tmp_path / BEST, weights=sam_file)
    assert trained.config == moved
    assert trained.model.frozen_digest == model.frozen_digest
    assert torch.equal(trained.model.network.head.weight, model.network.head.weight)


@pytest.mark.slow
def test_full_encoder_sees_what_segment_anythings_sees(reference, sam_file):
    pixels = torch.randn(1, 3, 1024, 1024)
    neck, skips = sam._encoder(ModelSpec(num_bands=3, num_outputs=1, weights=sam_file))(pixels)
    with torch.no_grad():
        expected = reference[0].image_encoder(pixels)
    assert expected.std() > 0.1
    assert torch.equal(neck, expected)
    assert [skip.shape for skip in skips] == [(1, 768, 64, 64)] * 4


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDS)
def test_fit_trains_over_the_published_weights(name, sam_file, make_config, tiles, tmp_path):
    rng = np.random.default_rng(0)
    images = tuple(rng.integers(0, 256, (1024, 1024, 3), dtype=np.uint8) for _ in range(3))
    masks = tuple((image[..., 0] > 100).astype(np.uint8) for image in images)
    train = replace(tiles.train.take(range(2)), images=images[:2], masks=masks[:2])
    val = replace(tiles.val.take(range(1)), images=images[2:], masks=masks[2:])
    changes: dict[str, Any] = {"small": False, "tiles": 2, "epochs": 1, "draws_per_epoch": 2, "batch_size": None}
    config = make_config(architecture=name, weights=sam_file, weights_digest=digest(Path(sam_file)), **changes)
    (record,) = fit(config, replace(tiles, train=train, val=val), checkpoints=tmp_path)
    assert np.isfinite(list(record.metrics.values())).all()
    trained = load_model(tmp_path / BEST)
    assert trained.model.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert (tmp_path / BEST).stat().st_size < 40e6  # the encoder alone has 359 MB
    (tmp_path / BEST).unlink()


def test_table_names_the_side_that_the_encoder_takes():
    assert {ARCHITECTURES[name].only_px for name in BUILDS} == {sam.SIDE_PX}
