"""The configuration that an earlier study selected."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from studies.profiles import ProfileName


class TunedConfig(BaseModel):
    """A configuration that another study selected, and where it was tuned.

    Attributes:
        point: The hyperparameters.
        tiles: How many tiles it was tuned with.
        study: The name of that study, and `study_id` what tells it from others of that name.
        profile: Its profile, and `tiles_digest` that of its train and val tiles.
        signature: Of the trial that was selected.
        val_iou: Its val IoU: the mean of its final models, else of the selected trial.
        epochs: Those that folds of its labels chose; None where val tiles chose.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    point: dict[str, Any]
    tiles: int
    study: str
    study_id: str
    profile: ProfileName
    tiles_digest: str
    signature: str
    val_iou: float
    epochs: int | None = None
