"""Reads arrays out of a pickle without running what is in it.

A pickle may name any function to be called with any arguments. Here the few names that NumPy writes lead to stand-ins,
which note an array's shape, type and bytes; every other name is refused. Nothing that a file names is ever imported or
called, not even NumPy's own unpickling.
"""

import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.common.errors import UserError

_PLAIN = re.compile(r"\?|b1|[iu][1248]|f[248]")
_RULE = "but only NumPy arrays of numbers, bare or in one list, tuple or dict, are loaded (a pickle can run code)"


def load_arrays(path: Path, flag: str) -> NDArray[Any] | list[NDArray[Any]] | dict[Any, NDArray[Any]]:
    """The arrays in a pickle: one, or a list (also for a tuple) or a dict of them.

    They are read-only views of the bytes that were read.

    Args:
        path: The file, of any pickle protocol, written under NumPy 1 or 2.
        flag: The flag that named it, for messages.

    Raises:
        UserError: The file is missing, damaged or truncated, or holds anything else, which is named.
    """
    where = f"{flag} {path}"
    try:
        with path.open("rb") as file:
            found = _Unpickler(file, encoding="latin1").load()  # latin1 keeps the bytes of Python 2's strings
        if isinstance(found, list | tuple):
            return [_to_array(item, f"item {index}") for index, item in enumerate(found)]
        if isinstance(found, dict):
            return {key: _to_array(item, f"item {key!r}") for key, item in found.items()}
        return _to_array(found, "the file")
    except _UnfitError as unfit:
        raise UserError(f"{where} holds {unfit}, {_RULE}: save plain arrays") from unfit
    except OSError as error:
        raise UserError(f"{where} cannot be read ({error.strerror}): check the path") from error
    except Exception as error:  # a damaged pickle fails in any way
        raise UserError(f"{where} is damaged, truncated or no pickle: write it again") from error


class _UnfitError(Exception):
    """Something that is not loaded; its text says what."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in _STAND_INS:
            raise _UnfitError(ascii(f"{module_name}.{global_name}")[1:-1])
        return _STAND_INS[module_name, global_name]


class _StandIn:
    """Is called where the pickle would call what it names; has no state that a pickle could set."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise ValueError("a function has no state")


class _DType:
    """What is known of a `numpy.dtype`; its byte order comes second."""

    __slots__ = ("code",)

    def __init__(self, code: Any, *_: Any):
        self.code = _text(code).lstrip("|<>=")
        if not _PLAIN.fullmatch(self.code):
            raise _UnfitError(f"an array of type {ascii(_text(code))[1:-1]}")

    def __setstate__(self, state: Any) -> None:
        order = _text(state[1])
        if order not in ("|", "<", ">", "=") or any(part is not None for part in state[2:5]):
            raise ValueError("no plain type")
        self.code = order + self.code.lstrip("|<>=")


class _Array:
    """What is known of an array: (shape, type, bytes, order of its axes)."""

    __slots__ = ("parts",)

    def __init__(self, *parts: Any):
        self.parts = parts

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, content = state
        self.parts = (shape, dtype, content, "F" if is_fortran else "C", None)

    def real(self) -> NDArray[Any]:
        shape, dtype, content, order, axes = self.parts
        if isinstance(content, str):  # from Python 2
            content = content.encode("latin1")
        kind = np.dtype(dtype.code)
        if math.prod(shape) * kind.itemsize != len(content):
            raise ValueError("bytes and shape do not agree")
        array: NDArray[Any] = np.ndarray(shape, kind, buffer=bytes(content), order="F" if order == "F" else "C")
        return array if axes is None else array.transpose(axes)


def _to_array(item: Any, what: str) -> NDArray[Any]:
    if not isinstance(item, _Array):
        kind = "dtype" if isinstance(item, _DType) else "name" if isinstance(item, _StandIn) else type(item).__name__
        raise _UnfitError(f"a {kind} ({ascii(what)[1:-1]})")
    return item.real()


def _text(value: Any) -> str:
    text = value.decode("latin1") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        raise ValueError("no text")
    return text


_NDARRAY = _StandIn(lambda *_: _Array())


def _reconstruct(subtype: Any, shape: Any, code: Any) -> _Array:
    if subtype is not _NDARRAY:
        raise ValueError("another array class")
    return _Array()


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> _Array:
    return _Array(shape, dtype, content, order, axes if order == "K" else None)


def _scalar(dtype: Any, content: Any) -> Any:
    return _Array((), dtype, content, "C", None).real().item()


def _encode(text: Any, encoding: Any) -> bytes:
    if _text(encoding) != "latin1":
        raise ValueError("another encoding than NumPy's")
    return _text(text).encode("latin1")


_STAND_INS = {("numpy", "ndarray"): _NDARRAY, ("numpy", "dtype"): _StandIn(_DType)}
_STAND_INS["_codecs", "encode"] = _StandIn(_encode)  # how protocols 0 to 2 keep bytes, and below those without any
_STAND_INS["builtins", "bytes"] = _STAND_INS["__builtin__", "bytes"] = _StandIn(lambda: b"")
for _core in ("numpy.core", "numpy._core"):  # NumPy 1, NumPy 2
    _STAND_INS[f"{_core}.multiarray", "_reconstruct"] = _StandIn(_reconstruct)
    _STAND_INS[f"{_core}.multiarray", "scalar"] = _StandIn(_scalar)
    _STAND_INS[f"{_core}.numeric", "_frombuffer"] = _StandIn(_from_buffer)
