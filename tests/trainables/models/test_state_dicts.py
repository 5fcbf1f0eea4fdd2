import io
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from trainables.models.state_dicts import read_state, take_bands


def test_read_state_reads_both_formats_alike(tmp_path):
    state = {"a": torch.arange(4.0), "b.c": torch.ones(2, 2, dtype=torch.int64)}
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    for suffix in (".pt", ".pth"):
        torch.save(state, tmp_path / f"w{suffix}")
    for path in sorted(tmp_path.iterdir()):
        read = read_state(path)
        assert set(read) == set(state)
        assert all(torch.equal(read[key], state[key]) for key in state)


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"model": {"a": torch.zeros(2)}}, {"epoch": 3}, torch.zeros(2)])
def test_read_state_refuses_other_content(tmp_path, content, refusal):
    path = tmp_path / "w.pth"
    torch.save(content, path)
    assert refusal(lambda: read_state(path)).startswith(f"{path} holds no plain state dict of tensors: save ")


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


NUMBERS = {"a": torch.arange(1000.0)}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello world",
        b"this is no checkpoint",
        b"GIF89a",
        b"\x89PNG\r\n",
        b"PK\x03\x04",
        b"\x80\x04\x88\xff",
        b"{}",
        saved({"a": Path("x")}),  # code
        saved(NUMBERS)[:2000],
        safetensors.torch.save(NUMBERS)[:2000],
    ],
)
def test_read_state_refuses_files_of_any_other_kind_or_half_of_one(tmp_path, suffix, content, refusal):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    assert refusal(lambda: read_state(path)).startswith(f"{path} is damaged or no state dict of tensors")


@pytest.mark.parametrize(("num_bands", "indices"), [(2, [0, 1]), (3, [0, 1, 2]), (4, [0, 1, 2, 0])])
def test_take_bands_repeats_the_three_in_turn_and_keeps_their_sum(num_bands, indices):
    conv = nn.Conv2d(3, 8, 4)
    three = conv.weight.detach().clone()
    take_bands(conv, num_bands)
    assert torch.equal(conv.weight, three[:, indices] * (3 / num_bands))
    assert conv.in_channels == num_bands
    conv.weight = nn.Parameter(three)
    take_bands(conv, 1)  # the sum of the three
    assert torch.equal(conv.weight, three.sum(dim=1, keepdim=True))
    assert conv(torch.rand(2, 1, 4, 4)).shape == (2, 8, 1, 1)
