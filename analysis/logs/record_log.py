"""Takes a W&B file apart into the bytes of its records, up to a tear; what is in the records it does not know."""

import struct
import zlib

BLOCK_BYTES = 32 * 1024
FILE_HEADER = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
CHUNK_HEADER = struct.Struct("<IHB")
"""Checksum, length in bytes, kind."""

FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
_CHECKSUM_OF_KIND = {kind: zlib.crc32(bytes([kind])) for kind in range(256)}


def split_records(data: bytes) -> tuple[list[bytes], int | None]:
    """Returns the records that are whole, and where the file is torn.

    Args:
        data: A whole file, its 7-byte header included. Blocks of 32 KiB are counted from the file's first byte.

    Returns:
        The payload of each record in the file's order, and the byte offset of the record that is torn, or None where
        every record is whole.

    Source: https://github.com/google/leveldb/blob/main/doc/log_format.md, but with zlib's CRC-32 of kind and data.
    """
    records: list[bytes] = []
    parts: list[bytes] = []
    if not data.startswith(FILE_HEADER):
        return records, 0
    at = start = len(FILE_HEADER)
    while at < len(data):
        block_left = BLOCK_BYTES - at % BLOCK_BYTES
        if block_left < CHUNK_HEADER.size:  # too short for a header: the writer fills it with zeros
            at += block_left
            continue
        body_at = at + CHUNK_HEADER.size
        if body_at > len(data):
            return records, start
        checksum, length, kind = CHUNK_HEADER.unpack_from(data, at)
        body = data[body_at : body_at + length]
        continues = kind in (MIDDLE, LAST)
        if len(body) < length or continues != bool(parts) or zlib.crc32(body, _CHECKSUM_OF_KIND[kind]) != checksum:
            return records, start
        at = body_at + length
        if kind == FULL:
            records.append(body)
            start = at
            continue
        parts.append(body)
        if kind == LAST:
            records.append(b"".join(parts))
            parts, start = [], at
    return records, start if parts else None
