"""Loads what a finished study selected, for a later one to retrain, and the recipe that it was tuned under."""

import json
import statistics
from pathlib import Path
from typing import Any

from studies.files.folder import has_study, load_frozen
from studies.spec import BUDGETS, StudySpec
from studies.tuned_config import TunedConfig
from trainables.common.command import did_you_mean
from trainables.common.errors import UserError
from trainables.config import Recipe, TrialConfig
from trainables.models.own.files import of_copies

CARRIED = ("data", "bands", "weights", "seed", "profile", *Recipe.model_fields)
"""Settings of the study that its configurations were tuned under."""


def load_tuned(out: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """Loads the settings that a study hands on: what it chose per architecture, its recipe, weights, tiles and seed.

    Of an architecture with several data budgets, the configuration of the largest is taken. Where another profile is
    wanted than the study's, that profile's recipe replaces the study's.

    Args:
        out: The study's folder.
        wanted: Settings that were asked for: `profile`, `seed` and `architectures` are looked at.

    Raises:
        UserError: The folder holds no study, or none that has selected anything.
    """
    if not has_study(out):
        raise UserError(f"--from {out} holds no study: give the folder of a finished phase 2{did_you_mean(out)}")
    settings, origin = load_frozen(out)
    spec = StudySpec.from_flat(settings)
    try:
        selection: dict[str, Any] = json.loads((out / "selection.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"--from {out} has selected nothing ({spec.phase} with no selection.json): give a finished phase 2"
        ) from error
    confirmed = _confirmed(out)
    chosen: dict[str, TunedConfig] = {}
    for arm, row in selection.items():
        try:
            config = TrialConfig.model_validate_json(json.dumps(row["config"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{out / 'selection.json'} is not as this version writes it (of {arm}): tune it again"
            ) from error
        name = config.architecture
        if name in chosen and chosen[name].tiles > config.tiles:
            continue
        chosen[name] = TunedConfig(
            point=config.hyperparameters,
            tiles=config.tiles,
            study=out.resolve().name,
            study_id=origin["study_id"],
            profile=spec.profile,
            tiles_digest=origin["tiles_digest"],
            signature=config.signature(),
            val_iou=confirmed.get(arm, row.get("val_iou") or 0.0),
            epochs=row["best_epoch"] if config.folds else None,
        )
    is_own_profile = wanted.get("profile", spec.profile) == spec.profile
    carried = [key for key in CARRIED if is_own_profile or key in ("data", "bands", "seed")]
    if "seed" in wanted:  # seeds that followed from the study's own
        carried = [key for key in carried if key not in ("subset_seed", "draw_seed")]
    asked, flat = wanted.get("architectures"), spec.flat()
    budgets = {}
    if spec.labels is not None and wanted.get("tiles") is None and wanted.get("labels") is None:
        budgets["labels"] = sorted({min(budget, origin["num_train_tiles"]) for budget in BUDGETS})
    return (
        {key: flat[key] for key in carried}
        | {
            "chosen": {name: chosen[name].model_dump(mode="json") for name in chosen},
            "architectures": list(asked or of_copies(list(chosen), out)),
        }
        | ({} if asked is None else {"best": None})
        | budgets
    )


def check_same_source(spec: StudySpec, out: Path) -> None:
    """Checks that a resumed study keeps the configurations that it began with.

    Raises:
        UserError: The study in the folder is not the one that the spec's configurations are from. One that is gone is
            no longer needed.
    """
    if not has_study(out):
        return
    _, origin = load_frozen(out)
    if others := {chosen.study for chosen in spec.chosen.values() if chosen.study_id != origin["study_id"]}:
        raise UserError(
            f"--from is {out}, but the study retrains what {', '.join(sorted(others))} chose: leave --from out, or "
            "start in another folder"
        )


def keep_best(spec: StudySpec) -> StudySpec:
    """The spec with as many architectures as `best` says, in their order; of those that were chosen only."""
    names = sorted(spec.architectures, key=lambda name: -spec.chosen[name].val_iou if name in spec.chosen else 0.0)
    kept = names[: spec.best]
    chosen = {name: chosen for name, chosen in spec.chosen.items() if name in kept}
    return spec.model_copy(
        update={"architectures": tuple(name for name in spec.architectures if name in kept), "chosen": chosen}
    )


def _confirmed(out: Path) -> dict[str, float]:
    """Mean val IoU of each arm's final models; empty where there are none."""
    try:
        content: dict[str, Any] = json.loads((out / "models.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    values = {arm: [m["val_iou"] for m in row["models"] if m["val_iou"] is not None] for arm, row in content.items()}
    return {arm: statistics.fmean(scores) for arm, scores in values.items() if scores}
