"""Damaged and truncated files: found wherever the damage is, but for bytes that every viewer skips."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trainables.common.errors import UserError
from trainables.data.formats.raster import read_header, read_image

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
PHOTO = np.asarray(Image.fromarray(PIXELS).resize((60, 40)))


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory, save_tiff) -> dict[str, tuple[Path, bytes]]:
    """Per suffix a file that a test may damage, and its content."""
    root = tmp_path_factory.mktemp("whole")
    for suffix in ("png", "jpg"):
        Image.fromarray(PHOTO).save(root / f"a.{suffix}")
    save_tiff(root / "a.tif", np.repeat(PHOTO.transpose(2, 0, 1)[:1], 4, axis=0).astype(np.uint16) * 9)
    return {path.suffix[1:]: (path, path.read_bytes()) for path in root.iterdir()}


def is_damaged(path: Path, content: bytes) -> bool:
    """Whether a file of that content is refused for its damage."""
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_header(path), read_image(path)
    unreadable = f"{path} cannot be read as an image: replace or remove it"
    return str(caught.value) in (f"{path} is damaged or truncated: replace it", unreadable)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@given(share=st.floats(0, 0.999))
def test_files_truncated_anywhere_are_refused(whole_files, suffix, share):
    path, content = whole_files[suffix]
    assert is_damaged(path, content[: int((len(content) - 8) * share)])


@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_png_with_any_flipped_bit_in_its_pixels_is_refused(whole_files, at, bit):
    path, content = whole_files["png"]
    first, last = content.index(b"IDAT"), content.index(b"IEND") - 4  # the chunk's name, pixels and checksum
    flipped = bytearray(content)
    flipped[first + int((last - first) * at)] ^= 1 << bit
    assert is_damaged(path, bytes(flipped))


@given(at=st.floats(0.6, 0.9))
def test_a_jpeg_with_overwritten_bytes_is_refused(whole_files, at):
    path, content = whole_files["jpg"]
    start = int(len(content) * at)
    # two restart markers where the picture has none: libjpeg only warns
    assert is_damaged(path, content[:start] + b"\xff\xd3\xff\xd5" + content[start + 4 :])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_files_are_read_and_judged_by_content_whatever_their_name(tmp_path, kind, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(PHOTO).save(path, kind)
    assert read_image(path).shape == PHOTO.shape
    content = path.read_bytes()
    assert is_damaged(path, content[: len(content) * 2 // 3])


def chunk(name: bytes, content: bytes, *, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(name + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def png_with(path: Path, before: bytes) -> Path:
    """A PNG with a chunk before its pixels."""
    Image.fromarray(PIXELS).save(path, "PNG")
    content = path.read_bytes()
    start = content.index(b"IDAT") - 4
    path.write_bytes(content[:start] + before + content[start:])
    return path


def test_a_png_with_a_damaged_chunk_is_read_unless_it_is_critical(tmp_path, refusal):
    path = png_with(tmp_path / "a.png", chunk(b"tEXt", b"Comment\0hello", checksum=1))
    assert np.array_equal(read_image(path), PIXELS)
    for name, content in ((b"PLTE", bytes(6)), (b"IDAT", b"")):
        png_with(path, chunk(name, content, checksum=1))
        assert refusal(lambda: read_image(path)) == f"{path} is damaged or truncated: replace it"


def jpeg(path: Path, change: Callable[[bytes], bytes]) -> Path:
    Image.fromarray(PHOTO).save(path, "JPEG", progressive=True)
    path.write_bytes(change(path.read_bytes()))
    return path


@pytest.mark.parametrize(
    ("change", "is_read"),
    [
        (lambda content: content[:-2] + b"\x11\x22\x33" + content[-2:], True),  # before the end
        (lambda content: content.replace(b"\xff\xda", b"\x01\x02\xff\xda", 1), True),  # before the first scan
        (lambda content: content + b"junk behind the end", True),
        (lambda content: content[:-2], False),
        (lambda content: content[:-2] + bytes(range(1, 200)) + content[-2:], False),  # more than a few: lost pixels
        (lambda content: content.replace(b"\xff\xda", b"\x01\x02\xff\xda", 1)[:-40], False),
    ],
)
def test_a_jpeg_with_a_few_stray_bytes_is_read_and_one_that_lost_something_refused(tmp_path, refusal, change, is_read):
    expected = read_image(jpeg(tmp_path / "plain.jpg", lambda content: content))
    path = jpeg(tmp_path / "a.jpg", change)
    if is_read:
        assert np.array_equal(read_image(path), expected)
    else:
        assert refusal(lambda: read_image(path)) == f"{path} is damaged or truncated: replace it"
