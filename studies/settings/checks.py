"""Checks of a whole spec that no field of it can make alone: what says nothing in a phase, and what cannot work."""

from searchspace.spaces import RECIPE_WEIGHTS, recipe_point
from studies.settings.labels import check_labels
from studies.spec import StudySpec
from trainables.common.command import validate
from trainables.common.errors import UserError
from trainables.config import TrialConfig
from trainables.models.composed.names import find_architecture, get_architecture


def check_phase(spec: StudySpec) -> None:
    """Refuses what a phase cannot run.

    Raises:
        UserError: The spec does not allow it.
    """
    if spec.phase == "phase3_data_budget":
        if spec.fix:
            raise UserError(f"--fix is {spec.fix[0]}, but phase 3 trains what phase 2 chose: leave it out")
        if not spec.chosen:
            raise UserError("phase 3 needs the study whose configurations it retrains: add --from runs/phase2")
        if missing := [name for name in spec.architectures if name not in spec.chosen]:
            raise UserError(
                f"--architectures names {missing[0]}, but the study chose only for {', '.join(spec.chosen)}: tune it "
                "first, or leave it out"
            )
    if spec.vary is not None and not spec.has_search:
        raise UserError(f"--vary is {spec.vary}, but {spec.phase} varies nothing: run studies/phase2_tuning.py with it")
    if spec.with_recipe and not spec.has_search:
        raise UserError(f"with_recipe is true, but {spec.phase} tunes nothing: leave it out")
    check_labels(spec)
    _check_architectures(spec)
    _check_fixed(spec)
    if not spec.seeds and (spec.vary is not None or not spec.has_search):
        raise UserError("--seeds is 0, but without a search every model is a final one: give at least 1")


def _check_architectures(spec: StudySpec) -> None:
    """Refuses names that look right and cannot work, which a spec does not ask for the sake of those who only read."""
    for name in spec.architectures:
        try:
            find_architecture(name)
        except ValueError as error:
            raise UserError(f"--architectures is {name!r}, but {error}") from error


def _check_fixed(spec: StudySpec) -> None:
    """Refuses values that no trial could have, and hyperparameters that say nothing to any of the architectures."""
    names = ", ".join(spec.architectures)
    if twice := [name for name in spec.fixed if sum(item.startswith(f"{name}=") for item in spec.fix) > 1]:
        raise UserError(f"--fix has {twice[0]} twice, but one value only can be: leave one out")
    if bare := [item for item in spec.fix if not all(item.partition("="))]:
        raise UserError(f"--fix is {bare[0]}, but must be NAME=VALUE, such as loss=dice")
    for name in spec.fixed:
        known = list(dict.fromkeys(key for row in spec.architectures for key in recipe_point(row)))
        known += [key for key in RECIPE_WEIGHTS if key not in known]
        if name not in known:
            raise UserError(f"--fix names {name}, but must name one of {', '.join(known)}, as NAME=VALUE")
        if spec.vary != "loss" and all(name not in recipe_point(row, spec.fixed) for row in spec.architectures):
            raise UserError(f"--fix names {name}, but the loss of {names} has no such weight: fix that loss, too")
        if name == spec.vary:
            raise UserError(f"--fix and --vary both name {name}: leave one of them out")
    for row in spec.architectures:
        recipe = recipe_point(row, spec.fixed)
        if spec.vary == "encoder_lr_factor" and spec.vary not in recipe:
            raise UserError(
                f"--vary is {spec.vary}, but {row} does not name a pretrained encoder to train: leave it out, or "
                "name one such as unet:efficientnet_lite0@staged"
            )
        if spec.vary is not None and spec.vary not in recipe:
            raise UserError(
                f"--vary is {spec.vary}, but the loss of {row} is {recipe['loss']}, which has no such weight: add "
                "--fix loss=NAME"
            )
        if spec.vary == "decoder_dropout" and not get_architecture(row).has_dropout:
            raise UserError(f"--vary is {spec.vary}, but {row} has none: leave it out, or vary something else")
        own = get_architecture(row).settings
        of_any_loss = {name: value for name, value in spec.fixed.items() if name in RECIPE_WEIGHTS}
        point = {name: value for name, value in recipe.items() if name not in own} | of_any_loss
        point |= {"architecture": row, "tiles": 1, "settings": {name: recipe[name] for name in own}}
        validate(TrialConfig, point, flag=lambda name: f"--fix {name}")
