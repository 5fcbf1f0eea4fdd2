"""Out of memory: which errors mean it, what they are told as, and that the memory is free again."""

import threading
import weakref
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch

from trainables.checkpoints import newest_valid
from trainables.data.draws import DrawSource
from trainables.device import out_of_memory_words
from trainables.fit import main
from trainables.records import DivergedError, OutOfMemoryError
from trainables.training import TrainingState
from trainables.trial import fit

CUDA_TEXT = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 14.75 GiB of which 1.06 GiB is "
    "free. Process 1 has 13.69 GiB memory in use.\nIf reserved but unallocated memory is large …"
)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError(CUDA_TEXT), "out of memory on cuda: tried to allocate 2.00 GiB"),
        (torch.OutOfMemoryError("CUDA out of memory."), "out of memory on cuda"),
        (torch.AcceleratorError("CUDA error: out of memory\nCompile with …"), "out of memory on cuda"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            "out of memory on cuda",
        ),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: not enough memory: you tried to "
                "allocate 3221225472 bytes."
            ),
            "out of memory on cpu: tried to allocate 3.00 GiB",
        ),
        (MemoryError(), "out of memory on cpu"),
    ],
)
def test_out_of_memory_is_one_line(error, words):
    assert out_of_memory_words(error) == words


def test_out_of_memory_of_torch_and_numpy_on_this_machine():
    with pytest.raises(RuntimeError) as torchs:
        torch.empty(2**50)
    assert out_of_memory_words(torchs.value) == "out of memory on cpu: tried to allocate 4194304.00 GiB"
    with pytest.raises(MemoryError) as numpys:
        np.zeros(2**55)
    assert out_of_memory_words(numpys.value) == "out of memory on cpu: tried to allocate 256 PiB"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"),
        ValueError("DefaultCPUAllocator: can't allocate memory"),
        DivergedError("the training loss is nan in epoch 1"),
        KeyboardInterrupt(),
    ],
)
def test_other_errors_mean_something_else(error):
    assert out_of_memory_words(error) is None


# In a trial


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
    with pytest.raises(OutOfMemoryError) as caught:
        records.extend(fit(make_config(**tiny), tiles, num_threads=num_threads))
    assert str(caught.value) == "out of memory on cuda: tried to allocate 2.00 GiB"
    assert emptied == [1]
    assert threading.active_count() == threads
    assert len(records) == epochs
    # Neither the error, which is still in hand, nor anything else keeps the trial's memory
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert models
    assert [model() for model in models] == [None] * len(models)


class TooLarge(torch.nn.Module):
    """Takes memory that no machine has, in validation only."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels if self.training else torch.empty(2**50)


def test_fit_is_out_of_memory_in_validation(make_config, tiles, tiny, tmp_path, monkeypatch):
    config = make_config(**tiny, epochs=3)
    whole = list(fit(config, tiles))
    original = TrainingState.start_epoch

    def start(self: TrainingState, epoch: int) -> None:
        original(self, epoch)
        self.model.network.decoder.append(TooLarge() if epoch == 2 else torch.nn.Identity())

    records = []
    monkeypatch.setattr(TrainingState, "start_epoch", start)
    with pytest.raises(OutOfMemoryError) as caught:
        records.extend(fit(config, tiles, checkpoints=tmp_path, checkpoint_seconds=0))
    assert str(caught.value) == "out of memory on cpu: tried to allocate 4194304.00 GiB"
    assert records == whole[:1]
    monkeypatch.setattr(TrainingState, "start_epoch", original)
    # and the next one in the same process goes on from what is there
    resume = newest_valid(tmp_path, config)
    assert list(fit(config, tiles, checkpoints=tmp_path, resume=resume)) == whole[1:]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shapes differ"),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        DivergedError("the training loss is nan in epoch 1"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_fit_lets_other_errors_pass(make_config, tiles, tiny, emptied, fail, error):
    fail("train_step", lambda: error, 1)
    with pytest.raises(type(error)) as caught:
        next(fit(make_config(**tiny), tiles))
    assert caught.value is error
    assert emptied == []


def test_fit_that_ends_well_gives_nothing_back(make_config, tiles, tiny, emptied):
    assert len(list(fit(make_config(**tiny), tiles))) == 2
    assert emptied == []


def test_attempt_out_of_memory_is_a_users_error(rgb_folder, tmp_path, refusal, fail):
    fail("train_step", lambda: torch.OutOfMemoryError(CUDA_TEXT), 1)
    flags = ["--attempt", "01", "--data", str(rgb_folder), "--out", str(tmp_path / "out"), "--small"]
    message = refusal(lambda: main([*flags, "--window-px", "64", "--draws-per-epoch", "4", "--epochs", "1"]))
    assert message.endswith(
        " does not fit into the memory with batches of 4 (out of memory on cuda: tried to allocate 2.00 GiB): use a "
        "smaller --batch-size or --window-px"
    )


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
