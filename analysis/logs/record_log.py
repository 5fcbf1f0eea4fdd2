"""Splits a W&B file into the bytes of its records, up to a tear, and joins them; what is in them it does not know.

Source: https://github.com/google/leveldb/blob/main/doc/log_format.md, but with zlib's CRC-32 of kind and data.
"""

import struct
import zlib
from collections.abc import Iterable

BLOCK_BYTES = 32 * 1024
FILE_HEADER = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
_CHUNK_HEADER = struct.Struct("<IHB")  # checksum, length in bytes, kind

_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_CHECKSUM_OF_KIND = {kind: zlib.crc32(bytes([kind])) for kind in range(256)}


def split_records(data: bytes) -> tuple[list[bytes], int | None]:
    """Returns the records that are whole, and where the file is torn.

    Args:
        data: A whole file, its 7-byte header included. Blocks of 32 KiB are counted from the file's first byte.

    Returns:
        The payload of each record in the file's order, and the byte offset of the record that is torn, or None where
        every record is whole.
    """
    records: list[bytes] = []
    parts: list[bytes] = []
    if not data.startswith(FILE_HEADER):
        return records, 0
    at = start = len(FILE_HEADER)
    while at < len(data):
        block_left = BLOCK_BYTES - at % BLOCK_BYTES
        if block_left < _CHUNK_HEADER.size:  # too short for a header: the writer fills it with zeros
            at += block_left
            continue
        body_at = at + _CHUNK_HEADER.size
        if body_at > len(data):
            return records, start
        checksum, length, kind = _CHUNK_HEADER.unpack_from(data, at)
        body = data[body_at : body_at + length]
        continues = kind in (_MIDDLE, _LAST)
        if len(body) < length or continues != bool(parts) or zlib.crc32(body, _CHECKSUM_OF_KIND[kind]) != checksum:
            return records, start
        at = body_at + length
        if kind == _FULL:
            records.append(body)
            start = at
            continue
        parts.append(body)
        if kind == _LAST:
            records.append(b"".join(parts))
            parts, start = [], at
    return records, start if parts else None


def join_records(records: Iterable[bytes]) -> bytes:
    """Returns a whole file with these records, the inverse of `split_records`."""
    data = bytearray(FILE_HEADER)
    for record in records:
        rest, is_first, is_last = record, True, False
        while not is_last:
            block_left = BLOCK_BYTES - len(data) % BLOCK_BYTES
            if block_left < _CHUNK_HEADER.size:
                data += bytes(block_left)
                block_left = BLOCK_BYTES
            body, rest = rest[: block_left - _CHUNK_HEADER.size], rest[block_left - _CHUNK_HEADER.size :]
            is_last = not rest
            kind = (_FULL if is_last else _FIRST) if is_first else (_LAST if is_last else _MIDDLE)
            data += _CHUNK_HEADER.pack(zlib.crc32(body, _CHECKSUM_OF_KIND[kind]), len(body), kind) + body
            is_first = False
    return bytes(data)
