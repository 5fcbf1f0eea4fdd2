"""Checks of a whole spec that no field of it can make alone: what says nothing in a phase, and what cannot work."""

from collections.abc import Sequence

from searchspace.spaces import RECIPE_WEIGHTS, recipe_point, space_for
from studies.profiles import PROFILES
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
        for flag, items in (("--fix", spec.fix), ("--recipe-point", spec.recipe_point)):
            if items:
                raise UserError(f"{flag} is {items[0]}, but phase 3 trains what phase 2 chose: leave it out")
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
    _check_names("--fix", spec.fix, spec)
    _check_names("--recipe-point", spec.recipe_point, spec)
    _check_fixed(spec)
    _check_recipes(spec)
    if not spec.seeds and (spec.vary is not None or not spec.has_search):
        raise UserError("--seeds is 0, but without a search every model is a final one: give at least 1")


def _check_architectures(spec: StudySpec) -> None:
    """Refuses names that look right and cannot work, which a spec does not ask for the sake of those who only read."""
    for name in spec.architectures:
        try:
            find_architecture(name)
        except ValueError as error:
            raise UserError(f"--architectures is {name!r}, but {error}") from error


def _check_names(flag: str, items: Sequence[str], spec: StudySpec) -> None:
    """Refuses what is not NAME=VALUE with the name of a hyperparameter of the architectures, once."""
    known = list(dict.fromkeys(key for row in spec.architectures for key in recipe_point(row)))
    known += [key for key in RECIPE_WEIGHTS if key not in known]
    names = [item.partition("=")[0] for item in items]
    for item, name in zip(items, names, strict=True):
        if names.count(name) > 1:
            raise UserError(f"{flag} has {name} twice, but one value only can be: leave one out")
        if not all(item.partition("=")):
            raise UserError(f"{flag} is {item}, but must be NAME=VALUE, such as loss=dice")
        if name not in known:
            raise UserError(f"{flag} names {name}, but must name one of {', '.join(known)}, as NAME=VALUE")


def _check_fixed(spec: StudySpec) -> None:
    """Refuses to fix what is varied, and weights that no loss of the architectures has."""
    names = ", ".join(spec.architectures)
    given = [("--fix", name) for name in spec.fixed]
    if spec.recipe_point != PROFILES[spec.profile].defaults(spec.phase).get("recipe_point"):  # which is for any loss
        given += [("--recipe-point", name) for name in spec.changed if name not in spec.fixed]
    for flag, name in given:
        if spec.vary != "loss" and all(name not in recipe_point(row, spec.changed) for row in spec.architectures):
            raise UserError(f"{flag} names {name}, but the loss of {names} has no such weight: fix that loss, too")
        if name == spec.vary and name in spec.fixed:
            raise UserError(f"--fix and --vary both name {name}: leave one of them out")


def _check_recipes(spec: StudySpec) -> None:
    """Refuses to vary what an architecture does not have, values that no trial could have, or that no search tries."""
    for row in spec.architectures:
        recipe = recipe_point(row, spec.changed)
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
        of_any_loss = {name: value for name, value in spec.changed.items() if name in RECIPE_WEIGHTS}
        point = {name: value for name, value in recipe.items() if name not in own} | of_any_loss
        point |= {"architecture": row, "tiles": 1, "settings": {name: recipe[name] for name in own}}
        validate(TrialConfig, point, flag=lambda name: f"{'--fix' if name in spec.fixed else '--recipe-point'} {name}")
        space = space_for(row, spec.fixed, spec.changed) if spec.has_search and spec.vary is None else {}
        for name, value in spec.changed.items():
            if name in space and not space[name].has(value):
                raise UserError(
                    f"--recipe-point {name} is {value}, but the search of {row} takes {space[name]}: give one of "
                    f"these, or --fix {name}={value}"
                )
