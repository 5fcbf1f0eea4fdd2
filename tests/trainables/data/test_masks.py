"""What mask files mean: values, palettes and colours, over all masks of a data set; and what is said of classes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.trainables.made_up_sources import read_all, write_tiff
from trainables.data.formats.raster import read_pixels
from trainables.data.tiles import IGNORE

Write = Callable[[Path, np.ndarray], None]
BLACK, WHITE, RED, YELLOW = (0, 0, 0), (255, 255, 255), (230, 57, 70), (250, 240, 60)


def classes_of(root: Path) -> list[np.ndarray]:
    tiles = read_all(root)
    return [*tiles.train.masks, *tiles.val.masks]


def assert_classes(root: Path, expected: list[np.ndarray]) -> None:
    assert all(np.array_equal(*pair) for pair in zip(classes_of(root), expected, strict=True))


def palette(*colors: tuple[int, int, int]) -> Write:
    """Writes class indices, or numbers of colours, with a palette."""

    def write(path: Path, indices: np.ndarray) -> None:
        image = Image.fromarray(indices).convert("P")
        image.putpalette([level for color in colors for level in color])
        image.putdata(indices.ravel().tolist())
        image.save(path)

    return write


def colored(*colors: tuple[int, ...]) -> Write:
    return lambda path, indices: Image.fromarray(np.array(colors, np.uint8)[indices]).save(path)


def grey(path: Path, levels: np.ndarray) -> None:
    Image.fromarray(levels).save(path)


def min_is_white(bits: int) -> Write:
    """Writes what is shown bright as low values, in a TIFF that says so."""

    def write(path: Path, indices: np.ndarray) -> None:
        stored = ((1 - indices) * (2**bits - 1)).astype(np.uint8)
        write_tiff(path, stored[None], photometric="MINISWHITE", **({"nbits": bits} if bits < 8 else {}))

    return write


def rewrite(root: Path, write: Write, *, names: str = "*", suffix: str = ".png", change: Any = None) -> Path:
    """Writes the masks of all splits anew, from class indices that may be changed first; a rewritten file's path."""
    path = root
    for old in sorted(root.glob(f"*/masks/{names}.png")):
        indices = (np.array(Image.open(old)) > 0).astype(np.uint8)
        old.unlink()
        path = old.with_suffix(suffix)
        write(path, indices if change is None else change(indices))
    return path


def with_third(indices: np.ndarray) -> np.ndarray:
    indices[40:44] = 2
    return indices


def describe(root: Path, **info: Any) -> None:
    (root / "dataset.json").write_text(json.dumps(info))


def first_mask(root: Path) -> Path:
    return root / "train/masks/train_0.png"


# Palettes and colours


def of_bits(path: Path, indices: np.ndarray) -> None:
    Image.fromarray(indices.astype(bool)).save(path)


def of_16_bits(path: Path, indices: np.ndarray) -> None:
    Image.fromarray(indices.astype(np.uint16) * 65535).save(path)


KINDS: dict[str, tuple[Write, str]] = {
    "palette of white and black": (lambda path, indices: palette(WHITE, BLACK)(path, 1 - indices), ".png"),
    "palette of black and white": (palette(BLACK, WHITE), ".png"),
    "palette of black and red": (palette(BLACK, RED), ".png"),
    "palette in a TIFF": (palette(RED, YELLOW), ".tif"),
    "grey RGB": (colored(BLACK, WHITE), ".png"),
    "RGBA of 0 and 1": (colored((0, 0, 0, 255), (1, 1, 1, 255)), ".png"),
    "1-bit PNG": (of_bits, ".png"),
    "1-bit TIFF": (of_bits, ".tif"),
    "MinIsWhite": (min_is_white(8), ".tif"),
    "1-bit MinIsWhite": (min_is_white(1), ".tif"),
    "0 and 65535": (of_16_bits, ".png"),
    "0 and 1": (grey, ".png"),
}
BESIDE_255 = ("1-bit PNG", "0 and 65535", "palette of black and white")  # white is white, whatever its bits


@pytest.mark.parametrize(("kind", "names"), [*((kind, "*") for kind in KINDS), *((kind, "*_0") for kind in BESIDE_255)])
def test_masks_of_two_classes_are_as_viewers_show_them(rgb_folder, kind, names):
    expected = classes_of(rgb_folder)
    write, suffix = KINDS[kind]
    rewrite(rgb_folder, write, suffix=suffix, names=names)
    assert_classes(rgb_folder, expected)


def test_palette_masks_taken_by_colour_are_named(rgb_folder):
    rewrite(rgb_folder, lambda path, indices: palette(WHITE, BLACK)(path, 1 - indices))
    assert read_all(rgb_folder).notes == (
        "masks with a palette were taken by its colours, not by its numbers: train_0.png, train_1.png, train_2.png and "
        "2 more",
    )
    rewrite(rgb_folder, grey)
    assert read_all(rgb_folder).notes == ()


def test_palette_with_a_light_background_in_colour_is_refused_until_colours_decide(rgb_folder, refusal):
    expected = classes_of(rgb_folder)
    rewrite(rgb_folder, palette(YELLOW, BLACK))
    fix = '("colors_rgb": [[0, 0, 0], [250, 240, 60]]), or store class indices without a palette'
    assert refusal(lambda: read_all(rgb_folder)) == (
        f"{first_mask(rgb_folder)} has a palette (0 is (250, 240, 60), 1 is (0, 0, 0)) whose values and colours do not "
        f"say the same classes: give each class its colour in dataset.json {fix}"
    )
    describe(rgb_folder, colors_rgb=[YELLOW, BLACK])
    assert_classes(rgb_folder, expected)
    describe(rgb_folder, colors_rgb=[BLACK, YELLOW])
    assert_classes(rgb_folder, [1 - mask for mask in expected])


def test_palette_against_colors_rgb_is_refused(rgb_folder, refusal):
    rewrite(rgb_folder, palette(RED, BLACK, YELLOW), change=with_third)
    describe(rgb_folder, classes=["a", "b", "c"], colors_rgb=[BLACK, RED, WHITE])
    assert "whose values and colours do not say the same classes" in refusal(lambda: read_all(rgb_folder))


def test_palettes_that_differ_between_files_are_refused_until_colours_decide(rgb_folder, refusal):
    describe(rgb_folder, classes=["ground", "roof", "tree"])
    rewrite(rgb_folder, grey, change=with_third)
    expected = classes_of(rgb_folder)
    turned = palette(YELLOW, BLACK, RED)  # numbers 0, 1, 2 are tree, ground, roof
    for path in sorted(rgb_folder.glob("*/masks/*.png")):
        indices = np.array(Image.open(path))
        turned(path, (indices + 1) % 3) if "_0" in path.name else palette(BLACK, RED, YELLOW)(path, indices)
    one, other = first_mask(rgb_folder), rgb_folder / "train/masks/train_1.png"
    assert refusal(lambda: read_all(rgb_folder)).startswith(
        f"{other} paints value 0 as (0, 0, 0) and {one} as (250, 240, 60), so values or colours may be the classes: "
    )
    describe(rgb_folder, classes=["ground", "roof", "tree"], colors_rgb=[BLACK, RED, YELLOW])
    assert_classes(rgb_folder, expected)


def test_void_in_a_palette_is_its_value(rgb_folder):
    expected = classes_of(rgb_folder)
    voc = palette(BLACK, (128, 0, 0), *[(9, 9, 9)] * 253, (224, 224, 192))

    def with_void(indices: np.ndarray) -> np.ndarray:
        indices[:3] = 255
        return indices

    rewrite(rgb_folder, voc, change=with_void)
    describe(rgb_folder, ignore_index=255)
    for mask, other in zip(classes_of(rgb_folder), expected, strict=True):
        assert (mask[:3] == IGNORE).all()
        assert np.array_equal(mask[3:], other[3:])


@pytest.mark.parametrize("opacity", [(), (255,)])
@pytest.mark.parametrize("colors", [(WHITE, RED, YELLOW), (WHITE, BLACK)])
def test_colour_masks_go_by_colors_rgb(rgb_folder, colors, opacity):
    about = {"classes": ["ground", "roof", "tree"][: len(colors)]}
    describe(rgb_folder, **about)
    rewrite(rgb_folder, grey, change=with_third if len(colors) == 3 else None)
    expected = classes_of(rgb_folder)
    for path in rgb_folder.glob("*/masks/*.png"):
        colored(*[(*color, *opacity) for color in colors])(path, np.array(Image.open(path)))
    describe(rgb_folder, **about, colors_rgb=colors)
    assert_classes(rgb_folder, expected)


def test_a_colour_of_no_class_is_refused(rgb_folder, refusal):
    rewrite(rgb_folder, colored(BLACK, RED, YELLOW), change=with_third)
    path = first_mask(rgb_folder)
    assert refusal(lambda: read_all(rgb_folder)) == (
        f"{path} has the colour (0, 0, 0), but dataset.json does not say which class it is: give each class its colour "
        'there ("colors_rgb": [[0, 0, 0], [230, 57, 70]]), or store class indices in one band'
    )
    describe(rgb_folder, colors_rgb=[BLACK, RED])
    assert refusal(lambda: read_all(rgb_folder)).startswith(
        f"{path} has the colour (250, 240, 60), which is no class's: give each class its colour "
    )


def test_pictures_see_through_pixels_and_smoothed_values_are_no_masks(rgb_folder, refusal):
    path = first_mask(rgb_folder)
    grey(path, np.arange(4096, dtype=np.uint16).reshape(64, 64).clip(0, 200).astype(np.uint8))
    assert refusal(lambda: read_all(rgb_folder)).startswith(
        f"{path} holds the value 2 and 198 more, as smoothing or JPEG makes them, but a mask of 2 "
    )
    colored((0, 0, 0, 0), (255, 255, 255, 255))(path, np.eye(64, dtype=np.uint8))
    message = refusal(lambda: read_all(rgb_folder))
    assert message.startswith(f"{path} has see-through pixels, but every pixel of a mask must say")
    shutil.copy(rgb_folder / "train/images/train_0.png", path)
    assert "colours, which are more than classes can be" in refusal(lambda: read_all(rgb_folder))


def test_min_is_white_is_stored_the_other_way_round(tmp_path):
    path = tmp_path / "a.tif"
    min_is_white(8)(path, np.ones((4, 4), np.uint8))
    assert (read_pixels(path).stored == 0).all()


def test_1_beside_255_is_refused_naming_one_mask_of_each(rgb_folder, refusal):
    path = rewrite(rgb_folder, grey, names="val_1")
    assert refusal(lambda: read_all(rgb_folder)) == (
        f"{path} holds 1 and {first_mask(rgb_folder)} holds 255, but the foreground must be the same value in all "
        'masks: store them alike, or, where one is void, write it into dataset.json ("ignore_index": 255)'
    )
    describe(rgb_folder, ignore_index=255)
    rewrite(rgb_folder, lambda path, indices: grey(path, indices * np.uint8(255)), names="val_1")
    for path in rgb_folder.glob("train/masks/*.png"):
        grey(path, (np.array(Image.open(path)) > 0).astype(np.uint8))
    assert read_all(rgb_folder).val.masks[1].max() == IGNORE


def test_a_bit_does_not_hide_that_1_and_255_are_mixed(rgb_folder, refusal):
    rewrite(rgb_folder, of_bits, names="train_0")
    path = rewrite(rgb_folder, grey, names="train_1")
    assert refusal(lambda: read_all(rgb_folder)).startswith(
        f"{rgb_folder / 'train/masks/train_2.png'} holds 255 and {path} holds 1, but the foreground must be the same "
    )


# Void and missing classes


@pytest.mark.parametrize(("ignored", "only"), [(255, "background"), (0, "foreground")])
def test_nothing_but_one_class_and_void_is_refused(rgb_folder, refusal, ignored, only):
    describe(rgb_folder, ignore_index=ignored)
    assert refusal(lambda: read_all(rgb_folder)) == (
        f"the train masks hold nothing but {only} and void ({ignored}), so there is nothing to tell apart: take "
        f'"ignore_index": {ignored} out of dataset.json if {ignored} is a class, or label more classes'
    )


def test_void_tiles_are_said_and_a_void_split_is_refused(tmp_path, write_rgb, refusal):
    root = write_rgb(tmp_path, foreground=1, info={"ignore_index": 255})
    grey(root / "val/masks/val_1.png", np.full((64, 64), 255, np.uint8))
    assert read_all(root).notes == ("every pixel is void in 1 of 2 val tiles: val_1",)
    grey(root / "val/masks/val_0.png", np.full((64, 64), 255, np.uint8))
    assert refusal(lambda: read_all(root)) == (
        "all val tiles are void or without data in every pixel, but a study needs some that count: mend them, or "
        "ignore_index in dataset.json (255)"
    )


def test_classes_that_a_split_lacks_are_said(rgb_folder):
    describe(rgb_folder, classes=["ground", "roof", "tree", "water", "road", "sand"])
    rewrite(rgb_folder, grey, names="val*")
    rewrite(rgb_folder, grey, names="train*", change=with_third)
    assert read_all(rgb_folder).notes == (
        "no train tile has a pixel of water, road, sand",
        "no val tile has a pixel of tree, water, road and 1 more",
    )
