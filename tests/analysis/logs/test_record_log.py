"""Checks the record log against a writer that follows the published format."""

import struct
import zlib

from hypothesis import example, given, settings
from hypothesis import strategies as st

from analysis.logs.record_log import BLOCK_BYTES, FILE_HEADER, split_records


def write(records: list[bytes]) -> bytes:
    data = bytearray(FILE_HEADER)
    for record in records:
        parts, rest = [], record
        while True:
            left = BLOCK_BYTES - len(data) % BLOCK_BYTES
            if left < 7:
                data += bytes(left)
                left = BLOCK_BYTES
            parts.append(rest[: left - 7])
            rest = rest[left - 7 :]
            kind = {(True, False): 1, (True, True): 2, (False, True): 3, (False, False): 4}[len(parts) == 1, bool(rest)]
            data += struct.pack("<IHB", zlib.crc32(bytes([kind]) + parts[-1]), len(parts[-1]), kind) + parts[-1]
            if not rest:
                break
    return bytes(data)


lengths = st.one_of(
    st.integers(0, 60), st.integers(BLOCK_BYTES - 40, BLOCK_BYTES + 40), st.integers(0, 3 * BLOCK_BYTES)
)


@settings(max_examples=50, deadline=None)
@given(st.lists(lengths, max_size=6))
@example([BLOCK_BYTES - 7 - 7 - 7, 5])  # leaves exactly a header's worth of block
@example([BLOCK_BYTES - 7 - 7 - 6, 5])  # leaves one byte less: filled with zeros
def test_split_records_returns_what_was_written(sizes: list[int]):
    records = [bytes([index + 1]) * size for index, size in enumerate(sizes)]
    assert split_records(write(records)) == (records, None)


@settings(max_examples=50, deadline=None)
@given(st.lists(lengths, min_size=1, max_size=4), st.data())
def test_split_records_of_a_cut_file_returns_the_whole_records_before_the_cut(sizes: list[int], data: st.DataObject):
    records = [bytes([index + 1]) * size for index, size in enumerate(sizes)]
    ends = [len(write(records[:count])) for count in range(len(records) + 1)]
    cut = data.draw(st.integers(ends[0], ends[-1] - 1), label="cut")
    whole = max(count for count, end in enumerate(ends) if end <= cut)
    found, torn_at = split_records(write(records)[:cut])
    assert found == records[:whole]
    assert torn_at in (ends[whole], None)
    padding = BLOCK_BYTES - ends[whole] % BLOCK_BYTES
    assert (torn_at is None) == (cut == ends[whole] or (padding < 7 and cut - ends[whole] <= padding))


def test_split_records_stops_at_a_damaged_record():
    records = [b"first", b"second", b"third"]
    data = bytearray(write(records))
    second_at = len(write(records[:1]))
    data[second_at + 7] ^= 1
    assert split_records(bytes(data)) == ([b"first"], second_at)


def test_split_records_reads_nothing_without_the_header():
    assert split_records(b"PK\x03\x04" + write([b"record"])) == ([], 0)
