"""Configurations: what they refuse, what their signature is of, and what follows from them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainables.config import Recipe, TrialConfig

BASE: dict[str, Any] = {"architecture": "unet", "tiles": 5, "lr": 1e-3}

OTHER_TRIAL: dict[str, Any] = {
    "architecture": "unet_resnet34",
    "tiles": 12,
    "lr": 2e-3,
    "augmentation": "HEAVY",
    "decoder_dropout": 0.1,
    "loss": "dice",
    "bce_weight": 0.6,
    "focal_weight": 0.4,
    "cldice_weight": 0.1,
    "encoder_lr_factor": 0.1,
    "settings": {},
    "weights": "imagenet",
    "weights_digest": "ab" * 32,
    "init_seed": 43,
    "folds": 3,
    "fixed_epochs": 4,
    "recipe": Recipe(epochs=61),
}
OTHER_RECIPE: dict[str, Any] = {
    "epochs": 61,
    "draws_per_epoch": 401,
    "batch_size": 5,
    "window_px": 256,
    "val_center_px": 512,
    "small": True,
    "optimizer": "adam",
    "weight_decay": 2e-4,
    "stop_patience": 11,
    "schedule": "cosine",
    "plateau_patience": 4,
    "plateau_factor": 0.25,
    "frozen_fraction": 0.5,
    "unfreeze_lr_factor": 0.5,
    "ema_decay": 0.99,
    "precision": "fp32",
    "augment_on": "device",
    "subset_seed": 1,
    "draw_seed": 1,
}


def config(**changes: Any) -> TrialConfig:
    return TrialConfig(**BASE | changes)


# The signature


def test_signature_is_of_every_field_and_survives_json():
    fields = set(TrialConfig.model_fields) - {"network_digest"}  # which follows from the architecture
    assert (set(OTHER_TRIAL), set(OTHER_RECIPE)) == (fields, set(Recipe.model_fields))
    base = config().signature()
    assert base == config().signature() != "a98411f5c7c99bf7"  # of versions that applied transforms together
    assert config(augmentation="LIGHT").signature() == "cdea4235e8bec838"  # as of earlier versions, whose studies go on
    trials = [{name: value} for name, value in OTHER_TRIAL.items() if name != "settings"]  # which unet has none of
    recipes = [{"recipe": Recipe(**{name: value})} for name, value in OTHER_RECIPE.items()]
    signatures = {config(**changes).signature() for changes in (*trials, *recipes)}
    assert len(signatures) == len(trials) + len(recipes) - 1  # epochs=61 is among both
    assert base not in signatures
    light, on_device = ({"augmentation": "LIGHT", "recipe": Recipe(augment_on=on)} for on in ("cpu", "device"))
    assert config(**light).signature() == config(**on_device).signature()  # whose pixels are the same on both
    whole = config(**OTHER_TRIAL)
    again = TrialConfig.model_validate_json(whole.model_dump_json())
    assert (again, again.signature()) == (whole, whole.signature())


@pytest.mark.parametrize(("architecture", "batch_size"), [("unet", 4), ("unet_resnet34", 4), ("sam_conv", 2)])
def test_batch_size_is_the_architectures_unless_given(architecture, batch_size):
    default, given_size, other = (
        config(architecture=architecture, recipe=Recipe(batch_size=size)) for size in (None, batch_size, 8)
    )
    assert (default.batch_size, other.batch_size) == (batch_size, 8)
    # It is the number of draws that decides a trial's result, not who named it
    assert default.signature() == given_size.signature() != other.signature()


def test_signature_of_weights_in_a_file_is_the_digests():
    def signature(weights: str, digest: str | None) -> str:
        return config(weights=weights, weights_digest=digest).signature()

    assert signature("/here/a.pth", "d1") == signature("/there/b.pth", "d1")
    assert signature("/here/a.pth", "d1") != signature("/here/a.pth", "d2")
    assert signature("imagenet", None) != signature("none", None)


# What is refused


@pytest.mark.parametrize("model", [config(), Recipe()])
def test_config_is_frozen(model):
    for field in type(model).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(model, field, getattr(model, field))


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"architecture": "unet++"}, "must be one of unet, unet_width16, .*, deeplabv3_resnet50"),
        ({"augmentation": "light"}, "must be one of NONE, LIGHT, MEDIUM, HEAVY, EXTREME"),
        ({"tiles": 0}, "tiles"),
        ({"tiles": "5"}, "tiles"),
        ({"lr": 0.0}, "lr"),
        ({"lr": float("nan")}, "lr"),
        ({"lr": float("inf")}, "lr"),
        ({"decoder_dropout": 1.0}, "decoder_dropout"),
        ({"bce_weight": 1.1}, "bce_weight"),
        ({"bce_weight": -0.1}, "bce_weight"),
        ({"init_seed": -1}, "init_seed"),
        ({"epochs": 10}, "epochs"),
        ({"recipe": {"epochs": 0}}, "recipe.epochs"),
        ({"recipe": {"epochs": 2.0}}, "recipe.epochs"),
        ({"recipe": {"batch_size": 1}}, "recipe.batch_size"),
        ({"recipe": {"window_px": 31}}, "recipe.window_px"),
        ({"recipe": {"val_center_px": 31}}, "recipe.val_center_px"),
        ({"recipe": {"plateau_factor": 1.0}}, "recipe.plateau_factor"),
        ({"recipe": {"frozen_fraction": 1.0}}, "recipe.frozen_fraction"),
        ({"recipe": {"unfreeze_lr_factor": 0.0}}, "recipe.unfreeze_lr_factor"),
        ({"recipe": {"ema_decay": 1.0}}, "recipe.ema_decay"),
        ({"recipe": {"precision": "fp64"}}, "recipe.precision"),
        ({"recipe": {"draw_seed": -1}}, "recipe.draw_seed"),
        ({"recipe": {"dropout": 0.1}}, "recipe.dropout"),
    ],
    ids=str,
)
def test_config_refuses_what_is_unknown_or_out_of_range(wrong, rule):
    with pytest.raises(ValidationError, match=rule):
        config(**wrong)


# What follows


@pytest.mark.parametrize(
    ("architecture", "weights", "is_pretrained", "frozen_epochs"),
    [
        ("unet_resnet34", "imagenet", True, 20),
        ("unet_resnet34", "weights.pth", True, 20),
        ("unet_resnet34", "none", False, 0),
        ("unet", "imagenet", False, 0),  # it has no encoder to fill
        ("sam_conv", "sam.pth", True, 0),  # frozen for good
        ("sam_unet", "sam.pth", True, 0),
        ("sam_unet", "none", False, 0),
    ],
)
def test_pretrained_encoders_are_frozen_for_a_third_of_the_epochs(architecture, weights, is_pretrained, frozen_epochs):
    found = config(architecture=architecture, weights=weights)
    assert (found.is_pretrained, found.frozen_epochs) == (is_pretrained, frozen_epochs)


@given(epochs=st.integers(1, 10_000))
def test_frozen_epochs_are_rounded_down(epochs):
    def frozen(**recipe: Any) -> int:
        pretrained = {"architecture": "unet_resnet34", "weights": "imagenet"}
        return config(**pretrained, recipe=Recipe(epochs=epochs, **recipe)).frozen_epochs

    assert frozen() == epochs // 3
    assert (frozen(frozen_fraction=0.5), frozen(frozen_fraction=0.0)) == (epochs // 2, 0)


@pytest.mark.parametrize(
    ("architecture", "weights", "small", "label"),
    [
        ("unet", "none", True, "unet (base width 16)"),
        ("sam_unet", "none", False, "sam_unet (random encoder)"),
        ("sam_unet", "sam.pth", False, "sam_unet"),
    ],
)
def test_label_tells_what_is_not_the_real_thing(architecture, weights, small, label):
    assert config(architecture=architecture, weights=weights, recipe=Recipe(small=small)).label == label


def test_judged_metric_names_the_windows():
    names = [config(recipe=Recipe(val_center_px=center)).judged_metric for center in (None, 512, 64)]
    assert names == ["val/iou", "val/iou_center512", "val/iou_center64"]
