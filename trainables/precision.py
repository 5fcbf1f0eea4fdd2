"""The number type that a trial computes with on its device, and the device's name, both as its records say them."""

import functools
import platform
from pathlib import Path

import torch

from trainables.common.errors import UserError
from trainables.names import Precision

DTYPES = {None: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
"""Names of autocast's types; None is no autocast."""

_CPU_INFO = Path("/proc/cpuinfo")


def half_dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    """What autocast takes on a device; None for float32 alone.

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


@functools.cache
def device_model(device: torch.device) -> str:
    """What the device is, such as `NVIDIA H200` or `Intel Xeon Platinum 8481C`; `CPU` where nothing is known."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu_model(_CPU_INFO.read_text(errors="replace") if _CPU_INFO.exists() else "")


def _cpu_model(cpu_info: str) -> str:
    """The model in the text of Linux' /proc/cpuinfo, without marks and clock; else what Python knows."""
    for line in cpu_info.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name" and value.strip():
            words = value.replace("(R)", "").replace("(TM)", "").split("@")[0].split()
            return " ".join(word for word in words if word != "CPU")
    return platform.processor() or platform.machine() or "CPU"
