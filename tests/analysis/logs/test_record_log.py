"""Checks that records are split as they were joined, whatever their lengths and wherever a file is cut or damaged."""

import struct
import zlib

from hypothesis import example, given, settings
from hypothesis import strategies as st

from analysis.logs.record_log import BLOCK_BYTES, FILE_HEADER, join_records, split_records

lengths = st.one_of(
    st.integers(0, 60), st.integers(BLOCK_BYTES - 40, BLOCK_BYTES + 40), st.integers(0, 3 * BLOCK_BYTES)
)


@settings(max_examples=50, deadline=None)
@given(st.lists(lengths, max_size=6))
@example([BLOCK_BYTES - 7 - 7 - 7, 5])  # leaves exactly a header's worth of block
@example([BLOCK_BYTES - 7 - 7 - 6, 5])  # leaves one byte less: filled with zeros
def test_split_records_returns_what_was_joined(sizes: list[int]):
    records = [bytes([index + 1]) * size for index, size in enumerate(sizes)]
    assert split_records(join_records(records)) == (records, None)


@settings(max_examples=50, deadline=None)
@given(st.lists(lengths, min_size=1, max_size=4), st.data())
def test_split_records_of_a_cut_file_returns_the_whole_records_before_the_cut(sizes: list[int], data: st.DataObject):
    records = [bytes([index + 1]) * size for index, size in enumerate(sizes)]
    ends = [len(join_records(records[:count])) for count in range(len(records) + 1)]
    cut = data.draw(st.integers(ends[0], ends[-1] - 1), label="cut")
    whole = max(count for count, end in enumerate(ends) if end <= cut)
    found, torn_at = split_records(join_records(records)[:cut])
    assert found == records[:whole]
    assert torn_at in (ends[whole], None)
    padding = BLOCK_BYTES - ends[whole] % BLOCK_BYTES
    assert (torn_at is None) == (cut == ends[whole] or (padding < 7 and cut - ends[whole] <= padding))


def test_split_records_stops_at_a_damaged_record_and_reads_nothing_without_the_header():
    assert split_records(b"PK\x03\x04" + join_records([b"record"])) == ([], 0)
    records = [b"first", b"second", b"third"]
    data = bytearray(join_records(records))
    second_at = len(join_records(records[:1]))
    data[second_at + 7] ^= 1
    assert split_records(bytes(data)) == ([b"first"], second_at)


def test_join_records_writes_the_published_format():
    whole, parted = b"abc", b"d" * BLOCK_BYTES
    first = BLOCK_BYTES - len(FILE_HEADER) - 7 - len(whole) - 7  # what is left of the first block
    chunks = [(1, whole), (2, parted[:first]), (4, parted[first:])]
    expected = b":W&B\xe1\xbe\x00"
    for kind, body in chunks:
        expected += struct.pack("<IHB", zlib.crc32(bytes([kind]) + body), len(body), kind) + body
    assert join_records([whole, parted]) == expected
