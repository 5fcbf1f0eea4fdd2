"""Pickles: arrays come out as they went in, and nothing in a file is ever run."""

import os
import pickle
from collections import OrderedDict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trainables.common.errors import UserError
from trainables.datasets.safe_pickle import load_arrays

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
RULE = "but only NumPy arrays of numbers, bare or in one list, tuple or dict, are loaded (a pickle can run code): save"


def dump(path: Path, value: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    """A file to write to again and again."""
    return tmp_path_factory.mktemp("scratch") / "a.pkl"


def same(found: Any, expected: np.ndarray) -> bool:
    return found.dtype == expected.dtype and found.shape == expected.shape and np.array_equal(found, expected)


@settings(max_examples=200)
@given(
    array=hnp.arrays(
        dtype=st.one_of(hnp.integer_dtypes(endianness="?"), hnp.unsigned_integer_dtypes(endianness="?"), st.just("?"))
        | hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
        shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
        elements={"allow_nan": False},
    ),
    is_fortran=st.booleans(),
    protocol=st.sampled_from(PROTOCOLS),
)
def test_arrays_come_out_as_they_went_in(scratch, array, is_fortran, protocol):
    array = np.asfortranarray(array) if is_fortran else array
    path = dump(scratch, array, protocol)
    assert same(load_arrays(path, "--images"), array)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_containers_and_views_come_out_as_they_went_in(tmp_path, protocol):
    whole = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    views = [whole, whole.transpose(1, 0, 2), whole[:, ::2], np.asfortranarray(whole), whole]  # one of them twice
    for container in (list, tuple):
        found = load_arrays(dump(tmp_path / "a.pkl", container(views), protocol), "--images")
        assert isinstance(found, list)
        assert all(same(a, b) for a, b in zip(found, views, strict=True))
    by_key = {"a": views[0], 7: views[1], np.int64(8): views[2], b"c": views[3]}
    found = load_arrays(dump(tmp_path / "dict.pkl", by_key, protocol), "--images")
    assert isinstance(found, dict)
    assert list(found) == ["a", 7, 8, b"c"]
    assert all(same(a, b) for a, b in zip(found.values(), by_key.values(), strict=True))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_names_of_numpy_1_are_known(tmp_path, protocol):
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    content = pickle.dumps(array, protocol)
    if protocol < 4:  # later protocols give the name's length before it
        content = content.replace(b"numpy._core.", b"numpy.core.")
    else:
        content = content.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
        content = content.replace(b"\x8c\x13numpy._core.numeric", b"\x8c\x12numpy.core.numeric")
        content = content[:2] + content[11:] if content[2:3] == b"\x95" else content  # without the frame's length
    assert b"numpy.core" in content
    (tmp_path / "a.pkl").write_bytes(content)
    assert same(load_arrays(tmp_path / "a.pkl", "--images"), array)


def test_pickle_of_python_2_is_read(tmp_path):
    # What Python 2.7 and NumPy 1.16 write for np.array([1, 258], 'u2') at protocol 2: bytes as short strings.
    content = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85q\x03U\x01bq\x04\x87q\x05"
        b"Rq\x06(K\x01K\x02\x85q\x07cnumpy\ndtype\nq\x08U\x02u2q\tK\x00K\x01\x87q\nRq\x0b(K\x03U\x01<q\x0cNNNJ\xff\xff"
        b"\xff\xffJ\xff\xff\xff\xffK\x00tq\rb\x89U\x04\x01\x00\x02\x01q\x0etq\x0fb."
    )
    (tmp_path / "a.pkl").write_bytes(content)
    assert same(load_arrays(tmp_path / "a.pkl", "--images"), np.array([1, 258], np.uint16))


# What is refused


class Malicious:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_malicious_pickle_is_refused_and_not_run(tmp_path, protocol, refusal):
    ran = tmp_path / "ran"
    pickle.loads(pickle.dumps(Malicious(ran), protocol))
    assert ran.exists()  # this is what a plain load does
    ran.unlink()
    for value in (Malicious(ran), [np.zeros(3), Malicious(ran)], {"a": np.zeros(3), "b": Malicious(ran)}):
        path = dump(tmp_path / "bad.pkl", value, protocol)
        message = refusal(lambda path=path: load_arrays(path, "--masks"))
        assert message == f"--masks {path} holds posix.system, {RULE} plain arrays"
    assert not ran.exists()


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (LOOP, "a list (item 0)"),
        (Fraction(1, 2), "fractions.Fraction"),
        (OrderedDict(a=np.zeros(2)), "collections.OrderedDict"),
        (Path("a"), "pathlib"),
        ([np.zeros(2), np.ma.masked_array([1, 2], [0, 1])], "numpy.ma."),
        (np.array([{}, 2], dtype=object), "an array of type O8"),
        (np.array(["a", "bc"]), "an array of type U2"),
        (np.zeros(2, [("x", "u1"), ("y", "u1")]), "an array of type V2"),
        (np.zeros(2, "M8[s]"), "an array of type M8"),
        (np.zeros(2, complex), "an array of type c16"),
        (3, "a int (the file)"),
        (None, "a NoneType (the file)"),
        ([np.zeros(2), [np.zeros(2)]], "a list (item 1)"),
        ({"a": np.zeros(2), "b": "text"}, "a str (item 'b')"),
        ([np.float32(1)], "a float (item 0)"),
        ([np.dtype("u1")], "a dtype (item 0)"),
        (np.ndarray, "a name (the file)"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_other_things_are_refused_by_name(tmp_path, value, what, protocol, refusal):
    path = dump(tmp_path / "a.pkl", value, protocol)
    message = refusal(lambda: load_arrays(path, "--images"))
    assert message.startswith(f"--images {path} holds {what}")
    assert message.endswith(f", {RULE} plain arrays")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_truncated_pickle_is_refused_wherever_it_ends(tmp_path, protocol, refusal):
    content = pickle.dumps([np.arange(6, dtype=np.uint16).reshape(2, 3)], protocol)
    path = tmp_path / "a.pkl"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        message = refusal(lambda: load_arrays(path, "--images"))
        assert message == f"--images {path} is damaged, truncated or no pickle: write it again"


@given(position=st.integers(0, 10_000), value=st.integers(0, 255), protocol=st.sampled_from(PROTOCOLS))
def test_damaged_pickle_ends_in_arrays_or_in_one_line(scratch, position, value, protocol):
    content = bytearray(pickle.dumps([np.arange(6, dtype=np.uint16).reshape(2, 3), np.ones(2, "f8")], protocol))
    content[position % len(content)] = value
    scratch.write_bytes(content)
    try:
        found = load_arrays(scratch, "--images")
    except UserError as error:
        found, message = [], str(error)
    else:
        message = ""
    assert "\n" not in message
    assert isinstance(found, np.ndarray | list | dict)


BUILD, REDUCE, STOP = b"b", b"R", b"."


@pytest.mark.parametrize(
    "content",
    [
        b"cnumpy\ndtype\n}(S'code'\nK\x01u" + BUILD + STOP,  # state for a stand-in
        b"cnumpy\ndtype\n(N}(S'__call__'\nNut" + BUILD + STOP,  # attributes for one
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(K\x00tS'b'\nt" + REDUCE + STOP,  # another class
        b"cnumpy\ndtype\n(S'u1'\nt"
        + REDUCE
        + b"(K\x03S'<'\n(S'u1'\n(K\x02ttNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
        + BUILD
        + STOP,  # a subarray
        b"c_codecs\nencode\n(S'a'\nS'zip'\nt" + REDUCE + STOP,  # another encoding
        b"\x82\x01" + STOP,  # the extension registry
        b"Pid\n" + STOP,  # a persistent id
        b"\x80\x05\x97" + STOP,  # a buffer beside the file
        b"(lp0\nh0\n" + STOP,
    ],
)
def test_crafted_pickles_are_refused(tmp_path, content, refusal):
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    assert refusal(lambda: load_arrays(path, "--images")).startswith(f"--images {path} ")


def test_shape_must_agree_with_the_bytes_of_a_file_that_is_there(tmp_path, refusal):
    content = pickle.dumps(np.zeros(4, np.uint8), 4)
    path = tmp_path / "a.pkl"
    message = refusal(lambda: load_arrays(path, "--images"))
    assert message == f"--images {path} cannot be read (No such file or directory): check the path"
    assert content.count(b"K\x04\x85") == 1
    for shape in (b"K\x05", b"K\x03"):
        path.write_bytes(content.replace(b"K\x04\x85", shape + b"\x85"))
        assert "is damaged" in refusal(lambda: load_arrays(path, "--images"))
