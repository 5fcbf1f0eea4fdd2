"""Attention pictures: what is drawn where, heads, and what a file has to be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from analysis.attention.__main__ import main
from analysis.attention.draw import draw, read_attention, shown

HEADS = (1, 2, 5, 8)


@pytest.fixture
def content() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    stages = {}
    for number, heads in enumerate(HEADS, start=1):
        weights = rng.random((heads, 3, 4)).astype(np.float32)
        stages[f"stage{number}"] = weights / weights.sum(axis=(1, 2), keepdims=True)
    return stages | {
        "image": rng.integers(0, 255, (70, 100, 3), np.uint8),
        "pixel": np.array([30, 20]),
        "padded_px": np.array([96, 128]),
        "model": np.array("segformer_mit_b3 (MiT-B0)"),
    }


@pytest.fixture
def path(content: dict[str, Any], tmp_path: Path) -> Path:
    np.savez(tmp_path / "attention.npz", **content)
    return tmp_path / "attention.npz"


def panels(figure: Any) -> list[Any]:
    """The axes with a title: colour bars have none."""
    return [axes for axes in figure.axes if axes.get_title()]


def test_read_attention_gives_what_is_in_the_file(path, content):
    found = read_attention(path)
    assert (found.model, found.x, found.y, found.padded_px) == ("segformer_mit_b3 (MiT-B0)", 30, 20, (96, 128))
    assert np.array_equal(found.image, content["image"])
    assert [stage.shape for stage in found.stages] == [(heads, 3, 4) for heads in HEADS]


def test_shown_is_the_mean_or_one_head():
    stage = np.array([[[0.2, 0.8]], [[0.6, 0.4]]], np.float32)
    assert shown(stage, None) == pytest.approx(np.array([[0.4, 0.6]]))
    assert shown(stage, 2) == pytest.approx(np.array([[0.6, 0.4]]))
    assert shown(stage, 3) is None


def test_draw_puts_each_stage_with_a_colour_bar_over_the_grey_image_and_says_who_looks(path, content):
    figure = draw(read_attention(path))
    axes = panels(figure)
    assert len(figure.axes) == 2 * len(HEADS)
    assert figure.get_suptitle().replace("\n", " ") == (
        "Attention of segformer_mit_b3 (MiT-B0) from the pixel in column 30, row 20; weights sum to 1, mean over heads"
    )
    assert [a.get_title() for a in axes] == [
        "stage 1: 3×4 keys, 1 head",
        "stage 2: 3×4 keys, 2 heads",
        "stage 3: 3×4 keys, 5 heads",
        "stage 4: 3×4 keys, 8 heads",
    ]
    for number, panel in enumerate(axes, start=1):
        below, heat = panel.images
        assert below.get_array().shape == (70, 100)
        assert below.get_array()[5, 7] == pytest.approx(content["image"][5, 7] @ [0.299, 0.587, 0.114])
        assert np.allclose(heat.get_array(), content[f"stage{number}"].mean(axis=0))
        assert heat.get_extent() == [0, 128, 96, 0]  # keys cover what the image was padded to
        assert heat.get_clim() == (0, pytest.approx(content[f"stage{number}"].mean(axis=0).max()))
        assert (panel.get_xlim(), panel.get_ylim()) == ((0, 100), (70, 0))
        assert {tuple(line.get_xydata()[0]) for line in panel.lines} == {(30.5, 20.5)}


def test_draw_of_a_head_leaves_out_stages_without_it(path, content):
    figure = draw(read_attention(path), 5)
    axes = panels(figure)
    assert [len(panel.images) for panel in axes] == [1, 1, 2, 2]
    assert [panel.get_xlabel() for panel in axes] == ["no head 5", "no head 5", "", ""]
    assert np.array_equal(axes[2].images[1].get_array(), content["stage3"][4])
    assert "head 5" in figure.get_suptitle()


# The command line


def test_main_draws_beside_the_file_and_the_same_bytes_again(path, tmp_path, capsys):
    assert main([str(path)]) == 0
    assert capsys.readouterr().out == f"{path.with_suffix('.png')}\n"
    with Image.open(path.with_suffix(".png")) as picture:
        assert picture.width > 2 * picture.height
    for name in ("a.svg", "b.svg"):
        assert main([str(path), "--head", "2", "--to", str(tmp_path / name)]) == 0
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_main_refuses_what_it_cannot_draw(path, content, tmp_path, capsys):
    (tmp_path / "torn.npz").write_bytes(path.read_bytes()[:500])
    (tmp_path / "other.txt").write_text("no archive", encoding="utf-8")
    np.savez(tmp_path / "partial.npz", image=content["image"], pixel=content["pixel"])
    np.save(tmp_path / "single.npy", content["image"])
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    refused = dict.fromkeys(("torn.npz", "other.txt", "single.npz"), "is damaged or no .npz file: write it again") | {
        "nowhere.npz": "is no file, but must be what python -m trainables.attention wrote: check it",
        "partial.npz": "has no model, padded_px, stage1: pass a file that python -m trainables.attention wrote",
    }
    for file, message in refused.items():
        assert main([str(tmp_path / file)]) == 2
        assert capsys.readouterr().err == f"error: {tmp_path / file} {message}\n"
    for flag, value, message in (
        ("--head", "9", "--head is 9, but the stages have heads 1 to 8: choose one of these"),
        ("--head", "0", "--head is 0, but the stages have heads 1 to 8: choose one of these"),
        ("--to", "a.gif", "--to is a.gif, but must end in .png or .svg: name it so"),
    ):
        assert main([str(path), flag, value]) == 2
        assert capsys.readouterr().err == f"error: {message}\n"
    assert list(tmp_path.glob("*.png")) == []
