"""bfloat16 on CPUs: which have it, and what a step is timed with."""

import time

import pytest

from trainables import precision
from trainables.common import processor
from trainables.common.processor import has_bf16
from trainables.precision import step_seconds


@pytest.mark.parametrize(
    ("cpu_info", "expected"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 avx512_vnni\n", True),
        ("processor : 0\nflags\t\t: fpu avx512f amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni\n", False),
        ("Features\t: fp asimd\nbugs\t: bf16\n", False),
        ("", False),
    ],
)
def test_has_bf16_where_the_processor_says_so(monkeypatch, tmp_path, cpu_info, expected):
    monkeypatch.setattr(processor, "CPU_INFO", tmp_path / "cpuinfo")
    assert not has_bf16()
    processor.CPU_INFO.write_text(cpu_info)
    assert has_bf16() is expected


def test_steps_are_of_what_is_ever_trained_in_the_type_that_is_asked_for(monkeypatch, make_config, tiles, tiny):
    seen = []
    step = precision.TrainingState.train_step

    def train_step(state, images, masks):
        trained = all(parameter.requires_grad for parameter in state.model.parameters())
        seen.append((state.config.recipe.precision, trained, len(images)))
        return step(state, images, masks)

    monkeypatch.setattr(precision.TrainingState, "train_step", train_step)
    seconds = step_seconds(make_config(**tiny, epochs=6), tiles, ("bf16", "fp32"), 1)
    assert all(seconds[name] > 0 for name in ("bf16", "fp32"))
    assert seen == [("bf16", True, 2), ("fp32", True, 2)] * 4


def test_steps_are_timed_without_the_time_that_others_take(monkeypatch, make_config, tiles, tiny):
    step = precision.TrainingState.train_step

    def train_step(state, images, masks):
        if state.config.recipe.precision == "bf16":
            time.sleep(0.5)  # as if other processes had the core
        return step(state, images, masks)

    monkeypatch.setattr(precision.TrainingState, "train_step", train_step)
    assert step_seconds(make_config(**tiny, epochs=6), tiles, ("bf16", "fp32"), 1)["bf16"] < 0.5
