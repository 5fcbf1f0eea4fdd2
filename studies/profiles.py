"""The profiles: how long, how wide and on what windows a study trains; sets of defaults that flags override."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from trainables.attempts.reference import ATTEMPTS

ProfileName = Literal["smoke", "quick", "full"]
PhaseName = Literal["phase1_comparison", "phase2_tuning", "phase3_data_budget"]

PHASES: tuple[PhaseName, ...] = get_args(PhaseName)

REFERENCE = tuple(dict.fromkeys(attempt.architecture for attempt in ATTEMPTS.values()))
"""The five architectures of the reference study."""

LITE0 = (
    "unet:efficientnet_lite0@scratch",
    "unet:efficientnet_lite0@frozen",
    "unet:efficientnet_lite0@staged",
    "deeplabv3plus:efficientnet_lite0@staged",
)
"""An encoder whose ImageNet weights come with the requirements: so a CPU without a network can say what pretraining, a
trained encoder and another decoder are worth."""

MOSTLY_DICE = ("bce_weight=0.1",)
"""In the some sixty steps of `quick`, a loss that is half BCE leaves networks from scratch with half of the objects
unfound; pretrained ones learn as much by either (measured on val tiles of two data sets)."""

TOP_CANDIDATES = ("unet_resnet34", "deeplabv3plus_resnet34", "sam_unet")
"""Source: attempts 02, 03 and 05, which the reference study names for tuning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a profile sets.

    Attributes:
        purpose: One line for `--help` and the README.
        study: Defaults of `StudySpec` fields.
        phases: Those in which a phase differs.
        varying: Those in which `--vary` differs, which trains every value with every seed.
        recipe: Defaults of `Recipe` fields.
    """

    purpose: str
    study: dict[str, Any]
    phases: dict[PhaseName, dict[str, Any]]
    varying: dict[str, Any]
    recipe: dict[str, Any]

    def defaults(self, phase: PhaseName, *, varies: bool = False) -> dict[str, Any]:
        """Of the fields of `StudySpec` in a phase."""
        return self.study | self.phases.get(phase, {}) | (self.varying if varies else {})


PROFILES: dict[ProfileName, Profile] = {
    "smoke": Profile(
        purpose="every architecture through every step, in 2 minutes on two cores; its numbers mean nothing, so the "
        "test tiles stay sealed",
        study={
            "architectures": REFERENCE,
            "trials": 2,
            "grace_epochs": 1,
            "reduction_factor": 2,
            "seeds": 1,
            "subsets": 2,
            "test": False,
        },
        phases={},
        varying={},
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
        purpose="an honest small study on a CPU, with a pretrained encoder: phase 2 takes about 6 minutes on two cores "
        "that have bf16, and 10 to 12 on others",
        study={
            "architectures": LITE0,
            "trials": 3,
            "grace_epochs": 2,
            "reduction_factor": 2,
            "seeds": 3,
        },
        phases={
            "phase1_comparison": {"architectures": ("unet_width16", *LITE0), "recipe_point": MOSTLY_DICE},
            "phase2_tuning": {"recipe_point": MOSTLY_DICE},
            "phase3_data_budget": {"seeds": 2, "subsets": 2, "best": 2},
        },
        varying={"architectures": LITE0[2:], "seeds": 2},
        recipe={
            "epochs": 6,
            "draws_per_epoch": 40,
            "batch_size": 4,
            "window_px": 192,
            "val_center_px": 256,
            "ema_decay": 0.9,
            "schedule": "cosine",
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
            "ensembles": True,
            "tta": True,
            "seeds": 3,
            "subsets": 3,
        },
        phases={"phase1_comparison": {"architectures": REFERENCE}, "phase2_tuning": {"with_recipe": True}},
        varying={"with_recipe": False},
        recipe={},
    ),
}
