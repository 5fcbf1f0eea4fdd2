"""What this machine's processor computes in."""

import re
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")


def cpu_info() -> str:
    """What Linux says of the processor; empty elsewhere."""
    return CPU_INFO.read_text(errors="replace") if CPU_INFO.exists() else ""


def has_bf16() -> bool:
    """Whether the CPU computes in bfloat16 itself, as far as Linux says; others only imitate it, and are slow at it.

    Source: the flags of x86 (AVX512-BF16, AMX) and ARM in arch/*/include of Linux.
    """
    return bool(re.search(r"^(flags|Features)\s*:.*\b(avx512_bf16|amx_bf16|bf16)\b", cpu_info(), re.MULTILINE))
