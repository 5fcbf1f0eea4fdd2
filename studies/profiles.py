"""The profiles: how long, how wide and on what windows a study trains; sets of defaults that flags override."""

from dataclasses import dataclass
from typing import Any, Literal

from trainables.architectures import ARCHITECTURES

ProfileName = Literal["smoke", "quick", "full"]

FROM_SCRATCH = ("unet", "unet_resnet34", "deeplabv3plus_resnet34")
"""Without pretrained weights a frozen encoder is random for good, which says nothing about the real one."""

TOP_CANDIDATES = ("unet_resnet34", "deeplabv3plus_resnet34", "sam_unet")
"""Source: attempts 02, 03 and 05, which the reference study names for tuning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a profile sets.

    Attributes:
        purpose: One line for `--help` and the README.
        study: Defaults of `StudySpec` fields.
        recipe: Defaults of `Recipe` fields.
    """

    purpose: str
    study: dict[str, Any]
    recipe: dict[str, Any]


PROFILES: dict[ProfileName, Profile] = {
    "smoke": Profile(
        purpose="every architecture through every step, in under 2 minutes on two cores; its numbers mean nothing",
        study={"architectures": tuple(ARCHITECTURES), "trials": 2, "grace_epochs": 1, "reduction_factor": 2},
        recipe={
            "epochs": 2,
            "draws_per_epoch": 8,
            "batch_size": 4,
            "window_px": 64,
            "val_center_px": 128,
            "small": True,
        },
    ),
    "quick": Profile(
        purpose="an honest small study from scratch on a CPU: three arms take about 7 minutes on two cores",
        study={"architectures": FROM_SCRATCH, "trials": 5, "grace_epochs": 2, "reduction_factor": 2},
        recipe={
            "epochs": 8,
            "draws_per_epoch": 96,
            "batch_size": 8,
            "window_px": 128,
            "val_center_px": 512,
            "small": True,
            "ema_decay": 0.9,
        },
    ),
    "full": Profile(
        purpose="the reference recipe: whole tiles (1024²), 60 epochs of 400 draws, pretrained encoders; wants a GPU",
        study={
            "architectures": TOP_CANDIDATES,
            "trials": 32,
            "grace_epochs": 8,
            "reduction_factor": 3,
            "weights": ("imagenet",),
        },
        recipe={},
    ),
}
