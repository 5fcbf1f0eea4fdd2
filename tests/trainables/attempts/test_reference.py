from dataclasses import astuple

import pytest

from searchspace.spaces import LR_CENTER, recipe_point
from trainables.attempts.reference import ATTEMPTS, get_attempt, reference_config
from trainables.models.architectures import ARCHITECTURES
from trainables.models.weight_files import PUBLISHED

# The headline table of the reference study: val IoU and F1, test IoU and F1, best epoch, minutes on a T4.
HEADLINE = {
    "unet": (0.735, 0.845, 0.757, 0.861, 36, 74),
    "unet_resnet34": (0.765, 0.865, 0.796, 0.886, 30, 50),
    "deeplabv3plus_resnet34": (0.772, 0.870, 0.802, 0.890, 39, 65),
    "sam_conv": (0.690, 0.814, 0.646, 0.783, 18, 127),
    "sam_unet": (0.740, 0.849, 0.758, 0.862, 18, 104),
}


def test_attempts_have_the_published_figures():
    assert list(ATTEMPTS) == ["01", "02", "03", "04", "05"]
    assert {a.architecture: astuple(a.figures) for a in ATTEMPTS.values()} == HEADLINE


@pytest.mark.parametrize("number", ATTEMPTS)
def test_reference_config_is_the_shared_recipe(number):
    config = reference_config(ATTEMPTS[number])
    recipe = config.recipe
    is_sam = number in ("04", "05")
    assert (config.lr, config.batch_size) == ((1e-4, 2) if is_sam else (1e-3, 4))
    assert config.decoder_dropout == (0.0 if number == "01" else 0.3)
    assert (config.augmentation, config.bce_weight, config.tiles, config.init_seed) == ("MEDIUM", 0.5, 24, 42)
    assert (recipe.epochs, recipe.draws_per_epoch, recipe.weight_decay) == (60, 400, 1e-4)
    assert (recipe.stop_patience, recipe.plateau_patience, recipe.plateau_factor) == (10, 3, 0.5)
    assert (recipe.window_px, recipe.val_center_px, recipe.small, recipe.ema_decay) == (None, None, False, None)
    assert (recipe.subset_seed, recipe.draw_seed) == (42, 42)
    # Two stages where the encoder is pretrained and trained later on: 20 of 60 epochs
    assert config.frozen_epochs == (20 if number in ("02", "03") else 0)
    # and the search of its architecture starts there
    assert config.lr == LR_CENTER[ARCHITECTURES[config.architecture].track]
    point = recipe_point(config.architecture)
    assert (config.augmentation, config.bce_weight) == (point["augmentation"], point["bce_weight"])


def test_attempts_name_the_weights_they_started_from():
    sam = PUBLISHED["sam_vit_b"].name
    assert [a.weights for a in ATTEMPTS.values()] == ["none", "imagenet", "imagenet", sam, sam]


def test_get_attempt_takes_numbers_with_and_without_zero_and_refuses_others(refusal):
    assert get_attempt("2") == get_attempt("02") == ("02", ATTEMPTS["02"])
    for number in ("6", "00", "unet", ""):
        message = refusal(lambda its=number: get_attempt(its))
        assert message == f"--attempt is {number}, but must be one of 01, 02, 03, 04, 05"
