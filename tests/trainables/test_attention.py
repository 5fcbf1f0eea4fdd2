"""SegFormer's attention from a pixel: against its own forward, where it looks from, the file, and refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.attention.__main__ import main
from trainables.attention.maps import attention_of, stage_attentions, write_attention
from trainables.checkpoints import BEST, TrainedModel, load_model
from trainables.data.tiles import DatasetInfo
from trainables.models.segmenter import Segmenter

INFO = DatasetInfo(bands=("red", "green", "blue"), scale=1 / 255)
STAGES = range(1, 5)


def look_about(model: Segmenter) -> None:
    """A fresh network looks everywhere alike."""
    for name, parameter in model.encoder.named_parameters():
        if ".attn." in name:
            torch.nn.init.normal_(parameter, std=0.3)


@pytest.fixture(scope="module")
def checkpoint(make_config, save_best, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("segformer") / BEST
    save_best(path, make_config(architecture="segformer_mit_b3"), INFO, look_about)
    return path


@pytest.fixture(scope="module")
def trained(checkpoint: Path) -> TrainedModel:
    return load_model(checkpoint)


@pytest.fixture
def image_file(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (70, 100, 3), np.uint8)).save(path)
    return path


# The arrays


@pytest.mark.parametrize("stage", STAGES)
def test_attention_gives_the_blocks_own_output(stage, checkpoint):
    trained = load_model(checkpoint)  # another one for hooks that stay
    block = getattr(trained.model.encoder, f"block{stage}")[-1]
    seen: dict[str, Any] = {}
    block.register_forward_hook(lambda _, inputs, output: seen.update(before=inputs[0], after=output))
    block.attn.register_forward_hook(lambda _, inputs, output: seen.update(inputs=inputs, output=output))
    with torch.no_grad():
        trained.model(torch.rand(2, 3, 64, 96))
        tokens, height, width = seen["inputs"]
        found = attention_of(block.attn, tokens, height, width, torch.arange(height * width))
        attended = block.attn.proj((found.weights @ found.values).transpose(1, 2).flatten(2))
        assert torch.allclose(attended, seen["output"], atol=1e-5)
        between = seen["before"].flatten(2).transpose(1, 2) + attended
        after = between + block.mlp(block.norm2(between), height, width)
        assert torch.allclose(after, seen["after"].flatten(2).transpose(1, 2), atol=1e-5)
    assert found.key_grid == (2, 3)  # of 64×96 px, at 1/32 in every stage
    assert torch.allclose(found.weights.sum(-1), torch.ones(()), atol=1e-5)
    assert found.weights.std() > 0


def test_stage_attentions_are_of_the_pixels_token(checkpoint):
    trained = load_model(checkpoint)
    image = np.random.default_rng(1).integers(0, 255, (64, 96, 3), np.uint8)
    inputs: list[Any] = []
    for stage in STAGES:
        block = getattr(trained.model.encoder, f"block{stage}")[-1]
        block.attn.register_forward_pre_hook(lambda module, given: inputs.append((module, *given)))
    x, y = 50, 40
    found = stage_attentions(trained, image, x, y)
    for stage, (module, tokens, height, width) in zip(STAGES, inputs, strict=True):
        side = 2 ** (stage + 1)  # px of a token: 4, 8, 16, 32
        assert (height, width) == (64 // side, 96 // side)
        with torch.inference_mode():
            everywhere = attention_of(module, tokens, height, width, torch.arange(height * width))
        own = everywhere.weights[0, :, (y // side) * width + x // side].numpy()
        assert np.allclose(found[stage - 1].reshape(len(own), -1), own, atol=1e-6)


def test_stage_attentions_sum_to_one_over_the_padded_image(trained):
    image = np.random.default_rng(1).integers(0, 255, (70, 100, 3), np.uint8)
    found = stage_attentions(trained, image, 99, 69)
    assert [array.shape for array in found] == [(heads, 3, 4) for heads in (1, 2, 5, 8)]
    assert {array.dtype for array in found} == {np.dtype(np.float32)}
    assert all(np.allclose(array.sum(axis=(1, 2)), 1.0, atol=1e-5) for array in found)
    assert not any(module._forward_pre_hooks for module in trained.model.modules())


# The file


def test_image_pixel_and_arrays_are_written_and_main_says_what_draws_them(
    checkpoint, image_file, tmp_path, trained, capsys
):
    to = tmp_path / "deep" / "attention.npz"
    shapes = write_attention(checkpoint, image_file, 7, 9, to)
    with np.load(to, allow_pickle=False) as file:
        content = {name: file[name] for name in file.files}
    pixels = np.asarray(Image.open(image_file))
    assert np.array_equal(content["image"], pixels)
    assert (content["pixel"].tolist(), content["padded_px"].tolist()) == ([7, 9], [96, 128])
    assert str(content["model"]) == "segformer_mit_b3 (MiT-B0)"
    expected = stage_attentions(trained, pixels, 7, 9)
    assert shapes == [array.shape for array in expected]
    assert all(np.array_equal(content[f"stage{n}"], array) for n, array in zip(STAGES, expected, strict=True))
    assert [path.name for path in to.parent.iterdir()] == ["attention.npz"]
    to = tmp_path / "a.npz"
    assert main([str(checkpoint), str(image_file), "--pixel", "3", "4", "--to", str(to)]) == 0
    assert capsys.readouterr().out == (
        f"{to}: heads × keys per stage: 1 × 3×4, 2 × 3×4, 5 × 3×4, 8 × 3×4; draw it with python -m analysis.attention "
        f"{to}\n"
    )


# Refusals


@pytest.mark.parametrize("name", ["unet", "vit_gat"])
def test_other_architectures_are_refused(name, make_config, save_best, image_file, tmp_path, refusal):
    path = tmp_path / BEST
    save_best(path, make_config(architecture=name), INFO)
    assert refusal(lambda: write_attention(path, image_file, 0, 0, tmp_path / "a.npz")) == (
        f"{path} is of {name}, but attention can be shown of segformer_mit_b3 only: pass a checkpoint of that"
    )
    assert not (tmp_path / "a.npz").exists()


@pytest.mark.parametrize(("x", "y"), [(100, 0), (0, 70), (-1, 0)])
def test_pixels_outside_the_image_are_refused(x, y, checkpoint, image_file, refusal):
    assert refusal(lambda: main([str(checkpoint), str(image_file), "--pixel", str(x), str(y)])) == (
        f"--pixel is {x} {y}, but {image_file} has columns 0 to 99 and rows 0 to 69: choose one of these"
    )


def test_bands_are_chosen_by_number_where_an_image_has_others(checkpoint, image_file, tmp_path, refusal):
    grey, four = tmp_path / "grey.png", tmp_path / "four.png"
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(grey)
    assert refusal(lambda: write_attention(checkpoint, grey, 0, 0, tmp_path / "a.npz")) == (
        f"{grey} has 1 band, but {checkpoint} was trained on 3 (red, green, blue): name these by --bands, or pass an "
        "image with these"
    )
    pixels = np.asarray(Image.open(image_file))
    Image.fromarray(np.concatenate([pixels, pixels[..., :1]], axis=2)).save(four)
    write_attention(checkpoint, image_file, 7, 9, tmp_path / "a.npz")
    write_attention(checkpoint, four, 7, 9, tmp_path / "b.npz", bands=(4, 2, 3))
    with np.load(tmp_path / "a.npz") as one, np.load(tmp_path / "b.npz") as other:
        assert all(np.array_equal(one[name], other[name]) for name in one.files)
    assert refusal(lambda: write_attention(checkpoint, four, 7, 9, tmp_path / "c.npz", bands=(1, 2, 5))) == (
        f"--bands names 5, but {four} has bands 1 to 4: name some of these"
    )


def test_files_that_are_missing_or_cannot_be_written_are_refused(checkpoint, image_file, tmp_path, refusal):
    nowhere, to = tmp_path / "nowhere", image_file / "a.npz"
    assert refusal(lambda: write_attention(nowhere, image_file, 0, 0, tmp_path / "a.npz")).startswith(str(nowhere))
    assert refusal(lambda: write_attention(checkpoint, nowhere, 0, 0, tmp_path / "a.npz")) == (
        f"{nowhere} is no file, but must be an image (.jpg, .jpeg, .png, .tif, .tiff): check the path"
    )
    assert refusal(lambda: write_attention(checkpoint, image_file, 0, 0, to)).startswith(f"{to} cannot be written (")
