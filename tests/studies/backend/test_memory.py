"""The memory of a study's trials: of the largest that its hyperparameters make."""

import io
import math

import pytest
from rich.console import Console

from studies.backend.memory import needed_gib, trial_memory
from studies.spec import StudySpec
from trainables import memory
from trainables.config import Recipe
from trainables.memory import Memory, UntraceableError

SMALL = Recipe(epochs=1, small=True)


@pytest.fixture
def found(make_session, monkeypatch, tmp_path):
    """Memory by architecture, where a trial takes as much as its configuration says, and what is told."""

    def find(trace, **changes):
        spec = StudySpec.model_validate({"tiles": (2, 4), "recipe": SMALL} | changes)
        console = Console(file=io.StringIO())
        monkeypatch.setattr(memory, "trace_memory", lambda config, *_, **__: trace(config))
        memories = trial_memory(make_session(tmp_path, spec).inputs, console)
        return memories, console.file.getvalue()

    return find


def of(gib: float) -> Memory:
    return Memory(train_gib=gib, evaluate_gib=0.5)


def of_settings(config) -> Memory:
    settings, is_cldice = config.settings, config.loss == "bce_dice_cldice"
    return of(10 * settings["depth"] + 9 - settings["token_reduction"] + 100 * is_cldice)


@pytest.mark.parametrize(
    ("changes", "gib"),
    [
        # A search takes the largest of what it may choose: depth 8 and no reduction
        ({}, 88),
        ({"fix": ("depth=4",)}, 48),
        # Others have the recipe's: 6 and 2
        ({"phase": "phase1_comparison"}, 67),
        ({"vary": "lr"}, 67),
        ({"vary": "loss"}, 167),
    ],
)
def test_largest_settings_and_loss_count(changes, gib, found):
    memories, told = found(of_settings, architectures=("lavit",), **changes)
    assert memories == {"lavit": of(gib)}
    assert needed_gib(memories) == gib + memory.DEVICE_GIB
    assert told == ""


@pytest.mark.parametrize(("changes", "dropout"), [({}, 0.5), ({"phase": "phase1_comparison"}, 0.0)])
def test_dropout_counts_where_it_is_searched(changes, dropout, found):
    assert found(lambda config: of(config.decoder_dropout), architectures=("unet",), **changes)[0] == {
        "unet": of(dropout)
    }


def test_what_cannot_be_traced_is_told_and_has_its_gpu_alone(found):
    def trace(config):
        if config.architecture == "unet":
            raise UntraceableError("it asks")
        return of(3.0)

    memories, told = found(trace, architectures=("unet", "unet_resnet34"))
    assert memories == {"unet": None, "unet_resnet34": of(3.0)}
    assert needed_gib(memories) == math.inf
    assert "unet cannot be traced (it asks)" in told.replace("\n", " ")
