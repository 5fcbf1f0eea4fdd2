"""Out of memory: told apart from other errors, said in one line, and raised with the memory free again."""

import functools
import gc
import re
from collections.abc import Callable, Iterator
from typing import ParamSpec

import torch

from trainables.records import EpochRecord, OutOfMemoryError

P = ParamSpec("P")

_CPU_WORDS = ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory")
"""Source: c10/core/impl/alloc_cpu.cpp of PyTorch: on POSIX systems and on Windows."""
_CUDA_WORDS = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What is allocated outside of torch's own pools, such as a context or cuBLAS's handle."""


def out_of_memory_words(error: BaseException) -> str | None:
    """`out of memory on cuda: tried to allocate 2.00 GiB`, as far as the error says so; None for any other error."""
    text = str(error)
    is_runtime = isinstance(error, RuntimeError)
    on_cuda = isinstance(error, torch.OutOfMemoryError) or (is_runtime and any(words in text for words in _CUDA_WORDS))
    on_cpu = isinstance(error, MemoryError) or (is_runtime and any(words in text for words in _CPU_WORDS))
    if not on_cuda and not on_cpu:
        return None
    device = "cuda" if on_cuda else "cpu"
    asked = re.search(r"allocate (\d+(?:\.\d+)?)\.? (bytes|[KMGTPE]iB)", text)
    if asked is None:
        return f"out of memory on {device}"
    size = f"{int(asked[1]) / 2**30:.2f} GiB" if asked[2] == "bytes" else f"{asked[1]} {asked[2]}"
    return f"out of memory on {device}: tried to allocate {size}"


def raises_out_of_memory(epochs: Callable[P, Iterator[EpochRecord]]) -> Callable[P, Iterator[EpochRecord]]:
    """Makes `OutOfMemoryError` of all errors that mean it; the others pass as they are."""

    @functools.wraps(epochs)
    def translated(*args: P.args, **kwargs: P.kwargs) -> Iterator[EpochRecord]:
        try:
            yield from epochs(*args, **kwargs)
            return
        except (RuntimeError, MemoryError) as error:
            words = out_of_memory_words(error)
            if words is None:
                raise
        # The error has gone out of scope, and its traceback with the frames that hold the model, activations and
        # gradients: an OutOfMemoryError raised above, even `from None`, would keep all of it alive as its context
        gc.collect()
        torch.cuda.empty_cache()  # does nothing where no GPU was used
        raise OutOfMemoryError(words)

    return translated
