"""Which failures are the disk's."""

import errno
from pathlib import Path

import pytest
import torch

from trainables.common.errors import UserError, is_disk_trouble

FULL_DEVICE = Path("/dev/full")


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "words"),
        PermissionError(errno.EACCES, "words"),
        NotADirectoryError(errno.ENOTDIR, "words"),
        ConnectionRefusedError(errno.ECONNREFUSED, "words"),
        OSError("without a number"),
        RuntimeError("No space left on device"),
        UserError("words"),
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
    ],
    ids=repr,
)
def test_other_errors_are_no_disk_trouble(error):
    assert not is_disk_trouble(error)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG])
def test_full_failing_and_read_only_disks_and_what_they_lead_to_are_disk_trouble(number):
    assert is_disk_trouble(OSError(number, "words"))
    for place in ("__cause__", "__context__"):
        error = RuntimeError("unexpected pos 768 vs 662")  # as torch says it
        setattr(error, place, OSError(number, "words"))
        assert is_disk_trouble(error)


@pytest.mark.skipif(not FULL_DEVICE.exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("buffering", [-1, 10**7])
def test_torch_meeting_a_full_disk_is_disk_trouble(buffering):
    with pytest.raises((OSError, RuntimeError)) as caught, FULL_DEVICE.open("wb", buffering=buffering) as stream:
        torch.save({"a": torch.zeros(10**6)}, stream)
    assert is_disk_trouble(caught.value)
