"""Masks as viewers show them, however they are stored; 0/1 or 0/255, judged over the whole source."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainables.made_up_sources import photo, save, write_tiff
from trainables.datasets.sources.masks import BinaryMasks, read_colors, read_grey, read_indices

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

SHOWN = np.zeros((16, 24), np.uint8)
SHOWN[2:5] = 255


def write_palette(path: Path, *, is_white_first: bool, **options: object) -> None:
    image = Image.fromarray((SHOWN == 0 if is_white_first else SHOWN > 0).astype(np.uint8), mode="P")
    image.putpalette([255, 255, 255, 0, 0, 0] if is_white_first else [0, 0, 0, 255, 255, 255])
    image.save(path, **options)


KINDS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "8 bits": (".png", lambda path: save(path, SHOWN)),
    "three bands": (".png", lambda path: save(path, np.stack([SHOWN] * 3, axis=-1))),
    "opacity": (".png", lambda path: Image.fromarray(SHOWN).convert("LA").save(path)),
    "1 bit": (".png", lambda path: Image.fromarray(SHOWN).convert("1").save(path)),
    "1 bit TIFF": (".tif", lambda path: Image.fromarray(SHOWN).convert("1").save(path, compression="group4")),
    "4 bits": (".tif", lambda path: write_tiff(path, SHOWN[None] // 255 * 15, nbits=4)),
    "white is 0": (".tif", lambda path: write_tiff(path, 255 - SHOWN[None], photometric="MINISWHITE")),
    "white is 0, LZW": (
        ".tif",
        lambda path: write_tiff(path, 255 - SHOWN[None], photometric="MINISWHITE", compress="lzw"),
    ),
    "white is 0, 1 bit": (
        ".tif",
        lambda path: write_tiff(path, (SHOWN[None] == 0).astype(np.uint8), photometric="MINISWHITE", nbits=1),
    ),
    "palette": (".png", lambda path: write_palette(path, is_white_first=False)),
    "palette, white first": (".png", lambda path: write_palette(path, is_white_first=True)),
    "palette, opacities": (".png", lambda path: write_palette(path, is_white_first=True, transparency=b"\x00\xff")),
    "palette TIFF": (".tif", lambda path: write_palette(path, is_white_first=True)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_what_viewers_show_and_those_of_a_source_0_and_1_however_they_are_stored(tmp_path, kind):
    suffix, write = KINDS[kind]
    path, empty = tmp_path / f"mask{suffix}", save(tmp_path / "empty.png", np.zeros_like(SHOWN))
    write(path)
    assert read_grey(path).dtype == np.uint8
    assert np.array_equal(read_grey(path), SHOWN)
    assert np.array_equal(read_colors(path), SHOWN.astype(np.uint32) * 0x10101)
    for threshold in (None, 128):
        masks = BinaryMasks(paths=[path, empty], threshold=threshold)
        assert np.array_equal(masks.read(path), SHOWN // 255)
        assert not masks.read(empty).any()
    assert not BinaryMasks(paths=[empty]).read(empty).any()  # alone


@pytest.mark.parametrize("threshold", [None, 128])
def test_masks_that_go_up_to_1_alone_have_1_as_foreground(tmp_path, threshold):
    paths = [save(tmp_path / "a.png", np.zeros_like(SHOWN)), save(tmp_path / "b.png", SHOWN // 255)]
    masks = BinaryMasks(paths=paths, threshold=threshold)
    assert [int(masks.read(path).sum()) for path in paths] == [0, 3 * 24]


@pytest.mark.parametrize(
    ("threshold", "words"),
    [
        (None, "holds the value 1, but a mask may hold 0 and 255: replace it"),
        (128, "holds 0 and 1, but other masks of this data set go up to 255: multiply it by 255"),
    ],
)
def test_a_mask_of_0_and_1_among_others_of_0_and_255_is_refused(tmp_path, refusal, threshold, words):
    paths = [save(tmp_path / "a.png", SHOWN // 255), save(tmp_path / "b.png", SHOWN)]
    masks = BinaryMasks(paths=paths, threshold=threshold)
    assert np.array_equal(masks.read(paths[1]), SHOWN // 255)
    assert refusal(lambda: masks.read(paths[0])) == f"{paths[0]} {words}"


def test_read_indices_takes_a_palettes_index_and_not_its_colour(tmp_path):
    indices = np.arange(16 * 24, dtype=np.uint8).reshape(16, 24) % 5
    image = Image.fromarray(indices, mode="P")
    image.putpalette([9, 8, 7, 200, 0, 0, 0, 200, 0, 0, 0, 200, 255, 255, 255])
    image.save(tmp_path / "palette.png")
    assert np.array_equal(read_indices(tmp_path / "palette.png"), indices)
    assert np.array_equal(read_indices(save(tmp_path / "grey.png", indices)), indices)
    assert np.array_equal(read_indices(save(tmp_path / "bands.png", np.stack([indices] * 3, axis=-1))), indices)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_reading_refuses_what_is_damaged_or_no_mask(tmp_path, refusal, suffix):
    path = save(tmp_path / f"mask{suffix}", photo(1, size=(64, 64))[..., 0])
    path.write_bytes(path.read_bytes()[:-2000])
    none = tmp_path / f"none{suffix}"
    for read in (read_grey, read_indices, read_colors):
        assert refusal(lambda its=read: its(path)) == f"{path} is damaged or truncated: replace it"
        assert refusal(lambda its=read: its(none)) == f"{none} is no file, but must be a mask: put it there"
    save(path, photo(1)[..., 0].astype(np.uint16))
    assert "but a mask must have 8 bits per band" in refusal(lambda: read_grey(path))
    save(path, np.array([[[255, 0, 0]]], np.uint8))
    assert refusal(lambda: read_grey(path)).startswith(f"{path} is coloured, but a mask must be grey")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_read_colors_is_the_same_in_every_mode(tmp_path, mode):
    colors = np.array([[[60, 16, 152], [254, 221, 58]], [[0, 0, 0], [60, 16, 152]]], np.uint8)
    image = Image.fromarray(colors)
    path = tmp_path / "mask.png"
    (image.quantize(8) if mode == "P" else image.convert(mode)).save(path)
    with Image.open(path) as saved:
        assert saved.mode == mode
    assert read_colors(path).tolist() == [[0x3C1098, 0xFEDD3A], [0, 0x3C1098]]
