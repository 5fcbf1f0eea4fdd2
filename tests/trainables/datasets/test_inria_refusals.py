"""What a bad source of Inria tiles is told, and a bad crops.csv."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainables.datasets.test_inria_crops import CENTER, SIDE, SIZE
from tests.trainables.killing import digests
from tests.trainables.made_up_sources import inria_image, inria_mask, write_tiff
from trainables.common.errors import UserError
from trainables.datasets.inria import find_sources
from trainables.datasets.inria_crops import prepare_inria

pytestmark = pytest.mark.usefixtures("small_inria")
prepare_small = partial(prepare_inria, side_px=SIDE)
SQUARE = (SIZE, SIZE)


@pytest.mark.parametrize(
    ("numbers", "names"),
    [
        ([4], "austin4,"),
        ([4, 7], "austin4 and austin7,"),
        ([4, 7, 8], "austin4, austin7 and austin8,"),
        ([4, 7, 8, 22, 31, 36], "austin4, austin7 and 4 more,"),
    ],
)
@pytest.mark.parametrize("folder", ["imgs", "msks"])
def test_prepare_names_missing_tiles(src, tmp_path, numbers, names, folder, refusal):
    for number in numbers:
        (src / folder / f"austin{number}.tif").unlink()
    message = refusal(lambda: prepare_small(src, tmp_path / "dst"))
    assert f"lacks the image or the mask of {names} but every tile needs both: add austin4.tif" in message
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize(
    ("folder", "pixels", "words"),
    [
        ("imgs", np.zeros((4, *SQUARE), np.uint8), "has 4 bands of uint8, but must have 3 of uint8: replace it"),
        ("imgs", np.zeros((3, *SQUARE), np.uint16), "has 3 bands of uint16, but must have 3 of uint8: replace it"),
        ("msks", np.zeros((3, *SQUARE), np.uint8), "has 3 bands of uint8, but must have 1 of uint8: replace it"),
        ("msks", np.eye(SIZE, dtype=np.uint8)[None], "holds the value 1, but a mask may hold 0 and 255: replace it"),
    ],
)
def test_prepare_refuses_bad_files_before_anything_is_written(src, tmp_path, folder, pixels, words, refusal):
    path = write_tiff(src / folder / "austin36.tif", pixels)
    assert refusal(lambda: prepare_small(src, tmp_path / "dst")) == f"{path} {words}"
    assert not (tmp_path / "dst").exists()


def test_prepare_refuses_small_sources_and_masks_without_building_before_anything_is_written(src, tmp_path, refusal):
    message = refusal(lambda: prepare_inria(src, tmp_path / "dst"))
    assert message == f"{src}/imgs/austin1.tif is 100×100 px, but a crop takes 1024×1024 px: replace it"
    for number in (1, 6):
        write_tiff(src / f"msks/austin{number}.tif", np.zeros((1, *SQUARE), np.uint8))
    message = refusal(lambda: prepare_small(src, tmp_path / "dst"))
    assert message == "all val crops are without building, but a split needs both: check the masks of --src"
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize("folder", ["imgs", "msks"])
@pytest.mark.parametrize("content", [b"", b"this is no image"])
def test_prepare_refuses_unreadable_files(src, tmp_path, folder, content, refusal):
    path = src / folder / "austin36.tif"
    path.write_bytes(content)
    message = refusal(lambda: prepare_small(src, tmp_path / "dst"))
    assert message == f"{path} is damaged, truncated or no image: replace it"
    assert not (tmp_path / "dst").exists()


@pytest.fixture(scope="module")
def one_pair(tmp_path_factory) -> Path:
    """A source of one pair, whose image a test may write anew."""
    root = tmp_path_factory.mktemp("truncated")
    write_tiff(root / "msks" / "austin1.tif", inria_mask(1)[None])
    return root


@pytest.mark.parametrize("compress", [None, "lzw", "deflate"])
def test_truncated_images_are_refused_or_not_needed(one_pair, compress):
    path = write_tiff(one_pair / "imgs" / "austin1.tif", inria_image(1).transpose(2, 0, 1), compress=compress)
    content = path.read_bytes()

    @given(share=st.floats(0, 1, exclude_max=True))
    def truncated(share: float) -> None:
        path.write_bytes(content[: int(len(content) * share)])
        message = None
        try:
            pixels = find_sources(one_pair, ["austin1"], SIDE)["austin1"].read_image(CENTER, CENTER, SIDE, SIDE)
        except UserError as error:
            message = str(error)
        assert message in (None, f"{path} is damaged, truncated or no image: replace it")
        if message is None:
            assert np.array_equal(pixels, inria_image(1)[CENTER : CENTER + SIDE, CENTER : CENTER + SIDE])

    truncated()


def test_prepare_that_meets_a_truncated_image_leaves_whole_tiles(src, tmp_path, prepared, refusal):
    path = src / "imgs" / "austin22.tif"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    message = refusal(lambda: prepare_small(src, tmp_path / "dst"))
    assert message == f"{path} is damaged, truncated or no image: replace it"
    expected = digests(prepared)
    left = {name: digest for name, digest in digests(tmp_path / "dst").items() if name != "crops.csv"}
    assert len(left) == 2 * 7
    assert left.items() <= expected.items()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", None),
        ("id,split\nausdin1,val\n", None),
        ("tile,score\n", None),
        ("\x00\xff", None),
        ("austin1,val,34", "austin1,val,here"),
        ("austin1,", "boston1,"),
        ("austin2,train,", "austin2,"),
    ],
)
def test_prepare_refuses_a_crops_csv_of_something_else_or_with_a_wrong_row(src, dst, old, new, refusal):
    path = dst / "crops.csv"
    text = path.read_text()
    assert new is None or old in text
    path.write_text(old if new is None else text.replace(old, new))
    assert refusal(lambda: prepare_small(src, dst)).startswith(f"{path} is not as this command writes it")
