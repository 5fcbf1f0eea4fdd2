"""The device of a trial: which one, its number type and its memory, and what running out of memory looks like."""

import functools
import gc
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, ParamSpec, TypeVar

import cv2
import torch
from torch.overrides import TorchFunctionMode

from trainables.common.errors import UserError
from trainables.common.processor import cpu_info
from trainables.names import Precision
from trainables.records import EpochRecord, OutOfMemoryError

DTYPES = {None: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
"""Names of autocast's types; None is no autocast."""

DeviceError = torch.AcceleratorError
"""A device failed, and this process cannot use it any more."""

P = ParamSpec("P")

Model = TypeVar("Model", bound=torch.nn.Module)

_CPU_WORDS = ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory")
"""Source: c10/core/impl/alloc_cpu.cpp of PyTorch: on POSIX systems and on Windows."""
_CUDA_WORDS = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Errors of what is allocated outside of torch's own pools, such as a context or cuBLAS's handle."""


def find_device(name: str | None) -> torch.device:
    """The device of a name: `cpu`, `cuda` or `cuda:1`; a GPU where there is one if None.

    Raises:
        UserError: There is no such device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cuda", "cpu"):
        raise UserError(f"--device is {name!r}, but must be cuda or cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device is {name}, but PyTorch sees no such device: use cpu")
    return device


def named_device(name: str) -> torch.device:
    """The device of a setting that was checked before, on whichever machine: what uses one that is gone raises."""
    return torch.device(name)


def move_model(model: Model, device: torch.device) -> Model:
    """Moves a network to a device, in the layout that its convolutions are fast in.

    Channels last is faster on CPUs (1.1x measured) and on tensor cores.
    """
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def use_threads(num_threads: int) -> None:
    """Keeps this process to its share of the cores."""
    torch.set_num_threads(num_threads)
    cv2.setNumThreads(1)
    os.environ["OMP_NUM_THREADS"] = str(num_threads)


def gpu_gib() -> float:
    """The memory of the first GPU that this process sees (GiB)."""
    return float(torch.cuda.get_device_properties(0).total_memory) / 2**30


def free_memory() -> None:
    """Gives back what nothing refers to any more, also on GPUs where they were used."""
    gc.collect()
    torch.cuda.empty_cache()


@functools.cache
def device_model(device: torch.device) -> str:
    """The model of a device, such as `NVIDIA H200` or `Intel Xeon Platinum 8481C`; `CPU` where nothing is known."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu_model(cpu_info())


def _cpu_model(text: str) -> str:
    """The model in the text of Linux' /proc/cpuinfo, without marks and clock; else what Python knows."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name" and value.strip():
            words = value.replace("(R)", "").replace("(TM)", "").split("@")[0].split()
            return " ".join(word for word in words if word != "CPU")
    return platform.processor() or platform.machine() or "CPU"


def half_dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    """The type of autocast on a device; None for float32 alone.

    `auto` is what the device is fast with: bfloat16 on a GPU that has it, else float16; float32 on a CPU. The others
    are the same on every device.

    Raises:
        UserError: The device does not have it.
    """
    is_cuda = device.type == "cuda"
    if precision == "fp32" or (precision == "auto" and not is_cuda):
        return None
    if precision == "fp16":
        return torch.float16
    has_bf16 = not is_cuda or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and not has_bf16:
        raise UserError(
            f"--precision is bf16, but {device_model(device)} has no such numbers: use fp16, which all GPUs have, or "
            "auto"
        )
    return torch.bfloat16 if has_bf16 else torch.float16


def dtype_name(precision: Precision, device: torch.device) -> str:
    """`fp32`, `bf16` or `fp16`."""
    return DTYPES[half_dtype(precision, device)]


@contextmanager
def autocast(precision: Precision, device: torch.device) -> Iterator[None]:
    """Mixed precision where the device and the recipe have it; see `half_dtype`.

    On CPUs depthwise convolutions are computed in float32, and give the half type that was asked for.
    """
    half = half_dtype(precision, device)
    slow = _DepthwiseInFloat32(half) if half is not None and device.type == "cpu" else nullcontext()
    with torch.autocast(device.type, dtype=half, enabled=half is not None), slow:
        yield


class _DepthwiseInFloat32(TorchFunctionMode):
    """PyTorch's gradients of depthwise convolutions in bfloat16 take up to forty times those in float32 on CPUs.

    Measured with torch 2.15 on a Xeon with AMX: 96 channels of 96² px by a kernel of 3² with stride 2, 28 and 3 ms.
    """

    def __init__(self, half: torch.dtype):
        super().__init__()
        self.half = half

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Calls a function of torch, a depthwise convolution outside of autocast."""
        if func is not torch.conv2d or not _is_depthwise(*args):
            return func(*args, **(kwargs or {}))
        with torch.autocast("cpu", enabled=False):
            exact: Any = [one.float() if isinstance(one, torch.Tensor) else one for one in args]
            features: torch.Tensor = func(*exact, **(kwargs or {}))
        return features.to(self.half)


def _is_depthwise(pixels: torch.Tensor | None = None, weight: torch.Tensor | None = None, *_: Any) -> bool:
    """By what a convolution gets by position; one that is called by names is left as it is."""
    return pixels is not None and weight is not None and pixels.shape[1] > 1 and weight.shape[1] == 1


def memory_words(device: torch.device, peak_memory_gib: float) -> str:
    """Peak memory: of an epoch beside all that the GPU has (GiB); of this process on a CPU."""
    if device.type == "cuda":
        total = torch.cuda.mem_get_info(device)[1] / 2**30
        return f"gpu_mem: {peak_memory_gib:.1f} / {total:.1f} GiB"
    try:
        import resource  # not on Windows
    except ImportError:
        return "memory: unknown"
    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, KiB elsewhere
    return f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit:.1f} GiB"


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
        free_memory()
        raise OutOfMemoryError(words)

    return translated
