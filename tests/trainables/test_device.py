"""Devices: what they are called and compute with, and what happens where their memory gives out."""

import threading
import weakref
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch

from trainables import device as device_module
from trainables.checkpoints import newest_valid
from trainables.common import processor
from trainables.data.draws import DrawSource
from trainables.device import device_model, dtype_name, half_dtype, memory_words, out_of_memory_words
from trainables.fit import main
from trainables.records import DivergedError, OutOfMemoryError
from trainables.training import TrainingState
from trainables.trial import fit

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


# What devices are and take


@pytest.mark.parametrize(
    ("precision", "cpu", "h200", "t4"),
    [
        ("auto", "fp32", "bf16", "fp16"),
        ("fp32", "fp32", "fp32", "fp32"),
        ("fp16", "fp16", "fp16", "fp16"),
        ("bf16", "bf16", "bf16", None),
    ],
)
def test_precision_is_a_type_of_the_device(monkeypatch, precision, cpu, h200, t4, refusal):
    monkeypatch.setattr(device_module, "device_model", lambda _: "Tesla T4")
    assert dtype_name(precision, CPU) == cpu
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: True)
    assert dtype_name(precision, CUDA) == h200
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: including_emulation)
    if t4 is not None:
        assert dtype_name(precision, CUDA) == t4
    else:
        message = refusal(lambda: half_dtype(precision, CUDA))
        assert message.startswith("--precision is bf16, but Tesla T4 has no such numbers: use fp16")


def test_cpu_has_its_name_without_marks_and_the_memory_of_this_process(monkeypatch, tmp_path):
    monkeypatch.setattr(processor, "CPU_INFO", tmp_path / "cpuinfo")
    for text, model in (
        ("model\t: 143\nmodel name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz\n", "Intel Xeon Platinum 8481C"),
        ("processor\t: 0\nmodel name\t: AMD EPYC 7B13\nflags\t\t: fpu\n", "AMD EPYC 7B13"),
        ("", ""),
        ("processor\t: 0\n", ""),
    ):
        device_model.cache_clear()
        (tmp_path / "cpuinfo").write_text(text)
        found = device_model(CPU)
        assert found == model if model else found  # is never empty
    device_model.cache_clear()
    words = memory_words(CPU, 0.0)
    assert words.startswith("memory: ")
    assert 0.1 < float(words.split()[1]) < 64


# Memory that gives out


CUDA_TEXT = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 14.75 GiB of which 1.06 GiB is "
    "free. Process 1 has 13.69 GiB memory in use.\nIf reserved but unallocated memory is large …"
)
CPU_TEXT = "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 3221225472 bytes."


def of_numpy() -> BaseException:
    """What NumPy on this machine says."""
    with pytest.raises(MemoryError) as error:
        np.zeros(2**55)
    return error.value


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (of_numpy(), "out of memory on cpu: tried to allocate 256 PiB"),
        (torch.OutOfMemoryError(CUDA_TEXT), "out of memory on cuda: tried to allocate 2.00 GiB"),
        (torch.OutOfMemoryError("CUDA out of memory."), "out of memory on cuda"),
        (torch.AcceleratorError("CUDA error: out of memory\nCompile with …"), "out of memory on cuda"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling …"), "out of memory on cuda"),
        (RuntimeError(CPU_TEXT), "out of memory on cpu: tried to allocate 3.00 GiB"),
        (MemoryError(), "out of memory on cpu"),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), None),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), None),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), None),
        (ValueError("DefaultCPUAllocator: can't allocate memory"), None),
        (DivergedError("the training loss is nan in epoch 1"), None),
        (KeyboardInterrupt(), None),
    ],
)
def test_out_of_memory_is_one_line_and_other_errors_are_none(error, words):
    assert out_of_memory_words(error) == words


@pytest.fixture
def emptied(monkeypatch) -> list[int]:
    """A number per time that the device's unused memory was given back."""
    times: list[int] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: times.append(1))
    return times


@pytest.fixture
def fail(monkeypatch):
    """Lets a part of a trial raise an error at its n-th time; gives references to the models of trials."""

    def at(part: str, error: Callable[[], BaseException], time: int) -> list[weakref.ref[Any]]:
        models: list[weakref.ref[Any]] = []
        times = count(1)
        owner = DrawSource if part == "_batch" else TrainingState
        original, start = getattr(owner, part), TrainingState.start_epoch

        def failing(self: Any, *args: Any) -> Any:
            if next(times) == time:
                raise error()
            return original(self, *args)

        def started(self: TrainingState, epoch: int) -> None:
            models.append(weakref.ref(self.model))
            start(self, epoch)

        monkeypatch.setattr(owner, part, failing)
        monkeypatch.setattr(TrainingState, "start_epoch", started)
        return models

    return at


@pytest.mark.parametrize(("part", "epochs"), [("train_step", 1), ("_loss", 1), ("_batch", 1), ("autocast", 0)])
@pytest.mark.parametrize("num_threads", [0, 2])
def test_fit_says_that_it_is_out_of_memory(make_config, tiles, tiny, emptied, fail, part, epochs, num_threads):
    models = fail(part, lambda: torch.OutOfMemoryError(CUDA_TEXT), 3)
    threads = threading.active_count()
    records = []
    with pytest.raises(OutOfMemoryError, match=r"^out of memory on cuda: tried to allocate 2\.00 GiB$") as caught:
        records.extend(fit(make_config(**tiny), tiles, num_threads=num_threads))
    assert (emptied, threading.active_count(), len(records)) == ([1], threads, epochs)
    # Neither the error, which is still in hand, nor anything else keeps the trial's memory
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert models
    assert [model() for model in models] == [None] * len(models)


def test_fit_out_of_memory_in_validation_goes_on_in_the_same_process(make_config, tiles, tiny, tmp_path, append):
    class TooLarge(torch.nn.Module):
        """Takes memory that no machine has, once, in validation."""

        is_done = False

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            if self.training or self.is_done:
                return pixels
            self.is_done = True
            return torch.empty(2**50)

    config = make_config(**tiny, epochs=3)
    whole, records = list(fit(config, tiles)), []
    append(2, TooLarge())
    with pytest.raises(OutOfMemoryError, match=r"^out of memory on cpu: tried to allocate 4194304\.00 GiB$"):
        records.extend(fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0))
    assert records == whole[:1]
    resume = newest_valid(tmp_path, config)
    assert list(fit(config, tiles, checkpoints=tmp_path, resume=resume)) == whole[1:]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shapes differ"),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        DivergedError("the training loss is nan in epoch 1"),
        KeyboardInterrupt(),
        None,
    ],
    ids=lambda error: type(error).__name__,
)
def test_fit_lets_other_errors_pass_and_gives_nothing_back(make_config, tiles, tiny, emptied, fail, error):
    if error is None:
        assert len(list(fit(make_config(**tiny), tiles))) == 2
    else:
        fail("train_step", lambda: error, 1)
        with pytest.raises(type(error)) as caught:
            next(fit(make_config(**tiny), tiles))
        assert caught.value is error
    assert emptied == []


def test_attempt_out_of_memory_is_a_users_error(rgb_folder, tmp_path, refusal, fail):
    fail("train_step", lambda: torch.OutOfMemoryError(CUDA_TEXT), 1)
    flags = ["--attempt", "01", "--data", str(rgb_folder), "--out", str(tmp_path / "out"), "--small"]
    message = refusal(lambda: main([*flags, "--window-px", "64", "--draws-per-epoch", "4", "--epochs", "1"]))
    assert "batches of 4 (out of memory on cuda: tried to allocate 2.00 GiB): use a smaller --batch-size" in message


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch.cuda.is_available() is False: no CUDA device here")
def test_memory_that_ran_out_on_cuda_is_free_for_the_next_trial(make_config, tiles):
    config = make_config(architecture="unet_resnet34", epochs=1)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(200 * 2**20 / total)  # the model fits, and its optimizer does not
    try:
        with pytest.raises(OutOfMemoryError, match=r"^out of memory on cuda: tried to allocate"):
            list(fit(config, tiles, device="cuda"))
        assert torch.cuda.memory_allocated() - before < 10 * 2**20
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert [record.epoch for record in fit(config, tiles, device="cuda")] == [1]
