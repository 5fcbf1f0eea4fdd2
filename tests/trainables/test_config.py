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
    "settings": {},
    "weights": "imagenet",
    "weights_digest": "ab" * 32,
    "init_seed": 43,
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
    "plateau_patience": 4,
    "plateau_factor": 0.25,
    "frozen_fraction": 0.5,
    "unfreeze_lr_factor": 0.5,
    "ema_decay": 0.99,
    "precision": "fp32",
    "subset_seed": 1,
    "draw_seed": 1,
}


def test_other_values_cover_every_field():
    assert set(OTHER_TRIAL) == set(TrialConfig.model_fields)
    assert set(OTHER_RECIPE) == set(Recipe.model_fields)


@pytest.mark.parametrize("field", sorted(TrialConfig.model_fields.keys() - {"settings"}))
def test_signature_changes_with_each_field_of_a_trial(field):
    assert TrialConfig(**BASE | {field: OTHER_TRIAL[field]}).signature() != TrialConfig(**BASE).signature()


@pytest.mark.parametrize("field", Recipe.model_fields)
def test_signature_changes_with_each_field_of_the_recipe(field):
    changed = TrialConfig(**BASE, recipe=Recipe(**{field: OTHER_RECIPE[field]}))
    assert changed.signature() != TrialConfig(**BASE).signature()


def test_signature_is_sixteen_hex_digits_and_repeats():
    signature = TrialConfig(**BASE).signature()
    assert len(signature) == 16
    assert set(signature) <= set("0123456789abcdef")
    assert TrialConfig(**BASE).signature() == signature


def test_signature_survives_json():
    config = TrialConfig(**BASE | OTHER_TRIAL)
    assert TrialConfig.model_validate_json(config.model_dump_json()) == config
    assert TrialConfig.model_validate_json(config.model_dump_json()).signature() == config.signature()


@pytest.mark.parametrize(("architecture", "batch_size"), [("unet", 4), ("unet_resnet34", 4), ("sam_conv", 2)])
def test_batch_size_is_the_architectures_unless_given(architecture, batch_size):
    def config(given: int | None) -> TrialConfig:
        return TrialConfig(**BASE | {"architecture": architecture, "recipe": Recipe(batch_size=given)})

    assert config(None).batch_size == batch_size
    assert config(8).batch_size == 8
    # It is the number of draws that decides a trial's result, not who named it
    assert config(batch_size).signature() == config(None).signature()
    assert len({config(size).signature() for size in (2, 4, 8)}) == 3


def test_signature_of_weights_in_a_file_is_the_digests():
    def signature(weights: str, digest: str | None) -> str:
        return TrialConfig(**BASE, weights=weights, weights_digest=digest).signature()

    assert signature("/here/a.pth", "d1") == signature("/there/b.pth", "d1")
    assert signature("/here/a.pth", "d1") != signature("/here/a.pth", "d2")
    assert signature("imagenet", None) != signature("none", None)


@pytest.mark.parametrize("model", [TrialConfig(**BASE), Recipe()])
def test_config_is_frozen(model):
    for field in type(model).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(model, field, getattr(model, field))


def test_config_refuses_unknown_architecture():
    names = (
        "unet, unet_resnet34, deeplabv3plus_resnet34, sam_conv, sam_unet, lavit, segformer_mit_b3, vit_gat, "
        "deeplabv3_resnet50"
    )
    with pytest.raises(ValidationError, match=f"must be one of {names}"):
        TrialConfig(**BASE | {"architecture": "unet++"})


def test_config_refuses_unknown_preset():
    with pytest.raises(ValidationError, match="must be one of NONE, LIGHT, MEDIUM, HEAVY, EXTREME"):
        TrialConfig(**BASE, augmentation="light")


@pytest.mark.parametrize(
    "wrong",
    [
        {"tiles": 0},
        {"tiles": "5"},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"decoder_dropout": 1.0},
        {"bce_weight": 1.1},
        {"bce_weight": -0.1},
        {"init_seed": -1},
        {"epochs": 10},
    ],
    ids=str,
)
def test_config_refuses_what_is_out_of_range(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        TrialConfig(**BASE | wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"epochs": 2.0},
        {"batch_size": 1},
        {"window_px": 31},
        {"val_center_px": 31},
        {"plateau_factor": 1.0},
        {"frozen_fraction": 1.0},
        {"unfreeze_lr_factor": 0.0},
        {"ema_decay": 1.0},
        {"precision": "fp64"},
        {"draw_seed": -1},
        {"dropout": 0.1},
    ],
    ids=str,
)
def test_recipe_refuses_what_is_out_of_range(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Recipe(**wrong)


def test_recipe_defaults_are_the_reference_studys():
    recipe = Recipe()
    assert (recipe.epochs, recipe.draws_per_epoch, recipe.batch_size) == (60, 400, None)
    assert (recipe.weight_decay, recipe.stop_patience) == (1e-4, 10)
    assert (recipe.plateau_patience, recipe.plateau_factor) == (3, 0.5)
    config = TrialConfig(**BASE)
    assert (config.augmentation, config.decoder_dropout, config.bce_weight, config.init_seed) == (
        "MEDIUM",
        0.3,
        0.5,
        42,
    )


@pytest.mark.parametrize(
    ("architecture", "weights", "epochs", "fraction", "frozen"),
    [
        ("unet_resnet34", "imagenet", 60, 1 / 3, 20),
        ("unet_resnet34", "weights.pth", 60, 1 / 3, 20),
        ("unet_resnet34", "imagenet", 5, 0.5, 2),
        ("unet_resnet34", "imagenet", 60, 0.0, 0),
        ("unet_resnet34", "none", 60, 1 / 3, 0),
        ("unet", "imagenet", 60, 1 / 3, 0),
        ("sam_conv", "sam.pth", 60, 1 / 3, 0),
        ("sam_unet", "sam.pth", 60, 1 / 3, 0),
        ("sam_unet", "none", 60, 1 / 3, 0),
    ],
)
def test_frozen_epochs_are_for_pretrained_encoders(architecture, weights, epochs, fraction, frozen):
    recipe = Recipe(epochs=epochs, frozen_fraction=fraction)
    assert (
        TrialConfig(architecture=architecture, weights=weights, tiles=5, lr=1e-3, recipe=recipe).frozen_epochs == frozen
    )


@given(epochs=st.integers(1, 10_000))
def test_frozen_epochs_are_a_third_rounded_down(epochs):
    config = TrialConfig(
        architecture="unet_resnet34", weights="imagenet", tiles=5, lr=1e-3, recipe=Recipe(epochs=epochs)
    )
    assert config.frozen_epochs == epochs // 3


@pytest.mark.parametrize(
    ("architecture", "weights", "pretrained"),
    [
        ("unet", "none", False),
        ("unet", "imagenet", False),  # it has no encoder to fill
        ("unet_resnet34", "none", False),
        ("unet_resnet34", "imagenet", True),
        ("sam_unet", "none", False),
        ("sam_unet", "sam.pth", True),
    ],
)
def test_pretrained_is_an_encoder_with_weights(architecture, weights, pretrained):
    assert TrialConfig(architecture=architecture, weights=weights, tiles=5, lr=1e-3).is_pretrained is pretrained


@pytest.mark.parametrize(
    ("architecture", "weights", "small", "label"),
    [
        ("unet", "none", True, "unet (base width 16)"),
        ("unet_resnet34", "none", False, "unet_resnet34"),
        ("sam_unet", "none", True, "sam_unet (small random encoder)"),
        ("sam_unet", "none", False, "sam_unet (random encoder)"),
        ("sam_unet", "sam.pth", False, "sam_unet"),
    ],
)
def test_label_tells_what_is_not_the_real_thing(architecture, weights, small, label):
    config = TrialConfig(architecture=architecture, weights=weights, tiles=5, lr=1e-3, recipe=Recipe(small=small))
    assert config.label == label


@pytest.mark.parametrize(("center", "name"), [(None, "val/iou"), (512, "val/iou_center512"), (64, "val/iou_center64")])
def test_judged_metric_names_the_windows(center, name):
    assert TrialConfig(**BASE, recipe=Recipe(val_center_px=center)).judged_metric == name
