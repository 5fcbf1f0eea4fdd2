"""Output that outlives its readers: a pipe that is closed, a full disk or a lost terminal ends no work."""

import contextlib
import io
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO


class _Lasting(io.FileIO):
    """Writes to a descriptor as long as somebody takes it, and to nowhere from then on."""

    def write(self, data: Any, /) -> int:
        try:
            while (num_written := super().write(data)) is None:  # another program made it non-blocking, and it is full
                select.select([], [self], [])
            return num_written
        except OSError:  # BrokenPipeError behind `| head`, ENOSPC behind `> file`, EIO where the terminal is gone
            _to_nowhere(self.fileno())
            return len(memoryview(data).cast("B"))


def make_last() -> None:
    """Makes stdout and stderr of this process and its children last.

    Descriptors 0, 1 and 2 that nobody opened lead to nowhere: the next file that is opened would get their number, and
    whatever a child process prints would end up in it.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            _to_nowhere(descriptor)
    sys.stdout, sys.stderr = _lasting(sys.stdout, 1), _lasting(sys.stderr, 2)


@contextlib.contextmanager
def native_stderr_in(path: Path) -> Iterator[None]:
    """Sends what libraries and child processes write to descriptor 2 to a file; Python's own stderr stays as it is."""
    own = sys.stderr
    own.flush()
    kept = os.dup(2)
    try:
        is_on_it = own.fileno() == 2
    except OSError:  # a test's, in memory
        is_on_it = False
    told = io.TextIOWrapper(
        io.BufferedWriter(_Lasting(kept, "w", closefd=False)), own.encoding, "replace", line_buffering=True
    )
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(file, 2)
    os.close(file)
    if is_on_it:
        sys.stderr = told
    try:
        yield
    finally:
        if is_on_it:
            sys.stderr = own
        told.flush()  # and left open, for loggers that got hold of it
        os.dup2(kept, 2)


def _lasting(stream: TextIO | None, descriptor: int) -> TextIO:
    """The stream in a form that lasts; letters that it cannot show are replaced."""
    if stream is None:  # Python found the descriptor closed
        return io.TextIOWrapper(io.BufferedWriter(_Lasting(descriptor, "w", closefd=False)), errors="replace")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.reconfigure(errors="replace")
    is_buffered = not isinstance(stream.buffer, io.FileIO)  # it is one under PYTHONUNBUFFERED
    if (
        is_buffered and not isinstance(getattr(stream.buffer, "raw", None), io.FileIO)
    ) or stream.fileno() != descriptor:
        return stream  # a test's, or a notebook's
    stream.flush()
    lasting = _Lasting(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(lasting) if is_buffered else lasting,
        encoding=stream.encoding,
        errors="replace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _to_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere == descriptor:
        os.set_inheritable(descriptor, True)
    else:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
