"""The chunks of a PNG file: whether its picture is whole, and its EXIF data, without decoding a pixel."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIECE_BYTES = 2**16  # which the processor's cache holds


def is_whole(path: Path) -> bool:
    """Whether every critical chunk is as it was written and the compressed pixels are complete.

    GDAL decodes a truncated PNG to zeros without a word (seen with rasterio 1.4.4). Ancillary chunks (texts, times) may
    be damaged: viewers leave them out, and the picture is the same.

    Source: PNG specification, third edition, sections 5.3 and 5.4 (https://www.w3.org/TR/png-3/).
    """
    with path.open("rb") as stream:
        pixels, name = zlib.decompressobj(), b""
        try:
            for name, length in _chunks(stream):
                is_critical = not name[0] & 0x20
                if not is_critical:
                    stream.seek(length + 4, 1)
                    continue
                content, checksum = stream.read(length), stream.read(4)
                if checksum != struct.pack(">I", zlib.crc32(name + content)):
                    return False
                if name == b"IDAT":
                    while not pixels.eof:  # in pieces: only their checksum is wanted
                        piece = pixels.decompress(content, _PIECE_BYTES)
                        content = pixels.unconsumed_tail
                        if not content and len(piece) < _PIECE_BYTES:
                            break
        except (zlib.error, struct.error):
            return False
        return name == b"IEND" and pixels.eof


def exif(path: Path) -> bytes:
    """The content of the eXIf chunk, a small TIFF; empty where there is none, or only a damaged one."""
    with path.open("rb") as stream:
        try:
            for name, length in _chunks(stream):
                if name == b"eXIf":
                    content, checksum = stream.read(length), stream.read(4)
                    return content if checksum == struct.pack(">I", zlib.crc32(name + content)) else b""
                stream.seek(length + 4, 1)
        except struct.error:  # truncated
            return b""
    return b""


def _chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """(name, length) of each chunk up to IEND; whoever iterates reads the content and its four bytes of checksum."""
    if stream.read(len(SIGNATURE)) != SIGNATURE:
        return
    name = b""
    while name != b"IEND":
        length, name = struct.unpack(">I4s", stream.read(8))
        yield name, length
