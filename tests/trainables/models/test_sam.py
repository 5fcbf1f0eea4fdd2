"""SAM: what its encoder gives, that nothing changes it, the sizes of both decoders, and its own weights."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from segment_anything import sam_model_registry
from torch import nn

from trainables.common.whole_files import digest
from trainables.models import sam
from trainables.models.architecture import SAM
from trainables.models.segmenter import Segmenter
from trainables.models.spec import ModelSpec
from trainables.models.weight_files import PUBLISHED

SMALL = ModelSpec(num_bands=3, num_outputs=1, decoder_dropout=0.3, small=True)
BUILDS = {"sam_conv": sam.sam_conv, "sam_unet": sam.sam_unet}


@pytest.fixture
def encoder() -> Any:
    return sam.sam_conv(SMALL).encoder


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


# The encoder


def test_encoder_gives_the_neck_and_the_blocks_3_6_9_12_without_a_graph(encoder):
    seen: dict[int, torch.Tensor] = {}
    for number, block in enumerate(encoder.inner.blocks, start=1):
        block.register_forward_hook(lambda _, __, output, number=number: seen.update({number: output}))
    pixels = torch.rand(2, 3, 32, 48, requires_grad=True)
    neck, skips = encoder(pixels)
    assert (len(seen), len(skips)) == (12, 4)
    for number, skip in zip((3, 6, 9, 12), skips, strict=True):
        assert skip.shape == (2, encoder.dim, 2, 3)
        assert torch.equal(skip[1, :, 0, 2], seen[number][1, 0, 2])
        assert torch.equal(skip.permute(0, 2, 3, 1), seen[number])
    assert neck.shape == (2, encoder.neck_dim, 2, 3)
    assert torch.equal(neck, encoder.inner(pixels))
    assert [x.requires_grad for x in (neck, *skips)] == [False] * 5


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


@pytest.mark.parametrize("name", ["neck.3.bias", "blocks.11.attn.rel_pos_w", "patch_embed.proj.weight"])
def test_digest_is_of_the_weights_alone_and_changes_with_each(encoder, name):
    other = sam.sam_unet(SMALL).encoder  # the same for both architectures
    before = other.digest
    other.to(memory_format=torch.channels_last)  # as in training
    assert len(before) == 64
    assert encoder.digest == before
    changed = sam.sam_unet(SMALL).encoder
    with torch.no_grad():
        changed.inner.get_parameter(name).view(-1)[-1] += 1e-3
    assert changed.digest != before


@pytest.mark.parametrize("num_bands", [3, 4])
def test_random_encoder_takes_nothing_of_torchs_generator(num_bands):
    digests = set()
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        digests.add(sam._encoder(replace(SMALL, num_bands=num_bands)).digest)
        assert torch.equal(torch.get_rng_state(), before)
    assert len(digests) == 1


# The decoders


def test_sam_unet_raises_the_earlier_blocks_to_the_finer_stages():
    model = sam.sam_unet(SMALL).eval()
    calls: list[tuple[torch.Tensor, torch.Size]] = []
    for raise_ in model.skips:
        raise_.register_forward_hook(lambda _, inputs, output: calls.append((inputs[0], output.shape)))
    pixels = torch.rand(1, 3, 64, 96)
    model(pixels)
    _, skips = model.encoder(pixels)
    # blocks 9, 6 and 3 to 1/8, 1/4 and 1/2, with the widths of the stages that take them
    assert [shape for _, shape in calls] == [(1, 64, 8, 12), (1, 32, 16, 24), (1, 16, 32, 48)]
    assert all(torch.equal(given, skip) for (given, _), skip in zip(calls, skips[2::-1], strict=True))


# The published file


@pytest.mark.slow
def test_full_encoder_sees_what_segment_anythings_sees(reference, sam_file):
    pixels = torch.randn(1, 3, 1024, 1024)
    neck, skips = sam._encoder(ModelSpec(num_bands=3, num_outputs=1, weights=sam_file))(pixels)
    with torch.no_grad():
        expected = reference[0].image_encoder(pixels)
    assert expected.std() > 0.1
    assert torch.equal(neck, expected)
    assert [skip.shape for skip in skips] == [(1, 768, 64, 64)] * 4
