"""What a finished study chose, for a later one to retrain: its selection and the recipe that it was chosen under."""

import json
from pathlib import Path
from typing import Any

from searchspace.spaces import space_for
from studies.folder import begun, read_frozen
from studies.spec import Chosen, StudySpec
from trainables.config import Recipe, TrialConfig
from trainables.errors import UserError

CARRIED = ("data", "weights", "seed", "profile", *Recipe.model_fields)
"""Settings of the study that its configurations were chosen under."""


def read_chosen(out: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """The settings that a study hands on: what it chose per architecture, its recipe, weights, tiles and seed.

    Of an architecture with several data budgets, the configuration of the largest is taken. Where another profile is
    wanted than the study's, that profile's recipe replaces the study's.

    Args:
        out: The study's folder.
        wanted: Settings that were asked for: `profile` and `architectures` are looked at.

    Raises:
        UserError: The folder holds no study, or none that has selected anything.
    """
    if not begun(out):
        raise UserError(f"--from {out} holds no study: give the folder of a finished phase 2")
    settings, _ = read_frozen(out)
    spec = StudySpec.from_flat(settings)
    try:
        selection: dict[str, Any] = json.loads((out / "selection.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"--from {out} has selected nothing ({spec.phase} with no selection.json): give a finished phase 2"
        ) from error
    chosen: dict[str, Chosen] = {}
    for arm, row in selection.items():
        config = TrialConfig.model_validate(row["config"])
        name = config.architecture
        if name in chosen and chosen[name].tiles > config.tiles:
            continue
        point = {key: getattr(config, key) for key in space_for(name)}
        chosen[name] = Chosen(point=point, tiles=config.tiles, study=out.resolve().name, signature=row["signature"])
        assert arm, "every row is of an arm"
    asked = wanted.get("architectures") or list(chosen)
    is_own_profile = wanted.get("profile", spec.profile) == spec.profile
    carried = [key for key in CARRIED if is_own_profile or key in ("data", "seed")]
    return {key: settings[key] for key in carried} | {
        "chosen": {name: chosen[name].model_dump(mode="json") for name in chosen if name in asked},
        "architectures": [name for name in chosen if name in asked] or list(asked),
    }
