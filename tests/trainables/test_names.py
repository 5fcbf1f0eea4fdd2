"""The tables of names agree with what computes what they name."""

import typing

import pytest
import torch

from trainables.data.augmentation import presets
from trainables.losses import Loss
from trainables.names import LOSS_WEIGHTS, LOSSES, PRESETS, Optimizer
from trainables.training import TrainingState

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", LOSSES)
def test_losses_can_be_computed_and_change_with_their_weights_alone(name):
    logits, masks = torch.linspace(-2, 2, 64).reshape(1, 1, 8, 8), torch.arange(64).reshape(1, 8, 8) % 2
    usual = Loss(name=name)(logits, masks)
    for weight in ("bce_weight", "focal_weight", "cldice_weight"):
        changed = Loss(name=name, **{weight: 0.9})(logits, masks)
        assert (changed != usual) == (weight in LOSS_WEIGHTS[name]), weight


def test_presets_have_functions_and_losses_weights():
    assert (tuple(presets.PRESETS), tuple(LOSS_WEIGHTS)) == (PRESETS, LOSSES)


@pytest.mark.parametrize("name", typing.get_args(Optimizer))
def test_optimizers_take_the_steps(name, make_config, tiles):
    state = TrainingState(make_config(optimizer=name), tiles, CPU)
    assert type(state.optimizer).__name__.lower() == name
