"""Everything that decides a trial's result."""

import json
import pkgutil
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from trainables.common.whole_files import text_digest
from trainables.models.composed.names import find_architecture, get_architecture
from trainables.names import LOSS_WEIGHTS, PRESETS, AugmentOn, LossName, Optimizer, Precision, ScheduleName

if TYPE_CHECKING:
    from trainables.losses import Loss


def _known_architecture(name: str) -> str:
    find_architecture(name)
    return name


def _known_preset(name: str) -> str:
    if name not in PRESETS:
        raise ValueError(f"must be one of {', '.join(PRESETS)}")
    return name


ArchitectureName = Annotated[str, AfterValidator(_known_architecture)]
Preset = Annotated[str, AfterValidator(_known_preset)]


LEAST_WINDOW_PX = 32
"""Side of the smallest windows (px); every stride divides it."""


class Recipe(BaseModel):
    """The settings that all trials of a study share; the defaults are the reference study's.

    Source: AdamW, decay, patience, plateau, draws, batch and freezing as in the reference study on 24 roof tiles.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(default=60, ge=1, description="epochs of a trial that runs its course")
    draws_per_epoch: int = Field(default=400, ge=2, description="augmented samples per epoch, with replacement")
    batch_size: int | None = Field(
        default=None, ge=2, description="draws per optimizer step; the reference's (4, and 2 over SAM) if left out"
    )
    window_px: int | None = Field(
        default=None, ge=LEAST_WINDOW_PX, description="side of training windows (px); whole tiles if none"
    )
    val_center_px: int | None = Field(
        default=None,
        ge=LEAST_WINDOW_PX,
        description="validate on centre windows (px); whole tiles if none",
    )
    small: bool = Field(default=False, description="use the architectures' smaller variants, named so in every table")
    optimizer: Optimizer | None = Field(
        default=None, description="adamw, or adam without decay; the one of each architecture's source if left out"
    )
    weight_decay: float = Field(default=1e-4, ge=0, description="AdamW's weight decay")
    stop_patience: int = Field(default=10, ge=1, description="epochs without a better val IoU before a trial ends")
    schedule: ScheduleName = Field(
        default="plateau",
        description="of lr: plateau, which reduces it where val IoU gets no better, or cosine, which needs no val and "
        "falls from lr to 0 over all epochs",
    )
    plateau_patience: int = Field(default=3, ge=0, description="epochs without a better val IoU before lr is reduced")
    plateau_factor: float = Field(default=0.5, gt=0, lt=1, description="factor on lr then")
    frozen_fraction: float = Field(
        default=1 / 3, ge=0, lt=1, description="share of the epochs with a pretrained encoder frozen"
    )
    unfreeze_lr_factor: float = Field(default=1.0, gt=0, le=1, description="factor on lr when the encoder is unfrozen")
    ema_decay: float | None = Field(
        default=None, gt=0, lt=1, description="evaluate an exponential moving average of the weights"
    )
    precision: Precision = Field(
        default="auto",
        description="auto: bf16 autocast on a GPU that has it, fp16 on others; on CPUs fp32, or bf16 where a study "
        "finds that they train its networks faster in it; or one for every device",
    )
    augment_on: AugmentOn = Field(
        default="cpu",
        description="where draws are augmented: cpu, by Albumentations, or device, by the same transforms for tensors, "
        "whose pixels are a few grey levels off from MEDIUM on: it pays where a GPU waits for the CPU's cores",
    )
    subset_seed: int = Field(default=0, ge=0, description="which tiles a budget takes")
    draw_seed: int = Field(default=0, ge=0, description="which draws an epoch shows")


class TrialConfig(BaseModel):
    """One trial: an architecture, a data budget, hyperparameters, the recipe and the seed of its initialisation."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    architecture: ArchitectureName
    tiles: int = Field(ge=1, description="train tiles to learn from")
    lr: float = Field(gt=0, description="learning rate at the start")
    augmentation: Preset = Field(default="MEDIUM", description=" | ".join(PRESETS))
    decoder_dropout: float = Field(default=0.3, ge=0, lt=1, description="probability between decoder stages")
    loss: LossName = Field(default="bce_dice", description=" | ".join(LOSS_WEIGHTS))
    bce_weight: float = Field(default=0.5, ge=0, le=1, description="w in w·BCE + (1−w)·Dice")
    focal_weight: float = Field(default=0.5, ge=0, le=1, description="v in v·Focal + (1−v)·Dice")
    cldice_weight: float = Field(default=0.3, ge=0, le=1, description="c in (1−c)·(w·BCE + (1−w)·Dice) + c·clDice")
    encoder_lr_factor: float = Field(
        default=1.0, gt=0, le=1, description="factor on lr for a pretrained encoder that is trained, too"
    )
    settings: dict[str, int] = Field(default={}, description="the architecture's own; its defaults if left out")
    weights: str = Field(
        default="none", description="encoder weights: imagenet, coco (of DeepLabV3), none or the path of a state dict"
    )
    weights_digest: str | None = None
    network_digest: str = Field(default="", description="SHA-256 of the file of a person's own network")
    init_seed: int = Field(default=42, ge=0, description="of the initialisation and dropout")
    folds: int = Field(default=0, ge=0, description="folds of its labels that a trial is judged by; 0: the val tiles")
    fixed_epochs: int | None = Field(
        default=None, ge=1, description="train without val, and end after so many epochs of the recipe's schedule"
    )
    recipe: Recipe = Recipe()

    @model_validator(mode="before")
    @classmethod
    def _complete_settings(cls, values: Any) -> Any:
        """Fills in the default of each setting of the architecture that was left out."""
        if not isinstance(values, dict) or not isinstance(values.get("settings", {}), dict):
            return values  # refused below
        try:
            row = find_architecture(values.get("architecture", ""))
        except ValueError:
            return values  # refused below
        settings = {name: s.default for name, s in row.settings.items()} | values.get("settings", {})
        return {"network_digest": row.file_digest} | values | {"settings": settings}

    @model_validator(mode="after")
    def _check_settings(self) -> "TrialConfig":
        row = get_architecture(self.architecture)
        if self.network_digest != row.file_digest:
            digests = f"SHA-256 {self.network_digest[:12]}…, but this one has {row.file_digest[:12]}…"
            raise ValueError(f"the file of {self.architecture} has {digests}: put that file back")
        known = row.settings
        for name, value in self.settings.items():
            if name not in known:
                raise ValueError(f"{self.architecture} has no {name}: it may set {', '.join(known) or 'nothing'}")
            if value not in known[name].choices:
                choices = ", ".join(map(str, known[name].choices))
                raise ValueError(f"{name} is {value}, but {self.architecture} takes one of {choices}")
        return self

    def signature(self) -> str:
        """Hash of the whole configuration (16 hex digits), so that changing a default changes it.

        Where weights came from a file, its digest counts and its path does not.
        """
        content = self.model_dump(mode="json")
        content["recipe"] |= {"batch_size": self.batch_size, "optimizer": self.optimizer}
        younger = {"network_digest": "", "encoder_lr_factor": 1.0, "folds": 0, "fixed_epochs": None}
        for name, default in younger.items():  # than signatures on record
            if content[name] == default:
                del content[name]
        if content["recipe"]["schedule"] == "plateau":
            del content["recipe"]["schedule"]
        if self.augmentation not in ("NONE", "LIGHT"):  # signatures on record are of transforms that fired together
            content["transforms"] = "independent"
        if self.recipe.augment_on == "cpu" or self.augmentation in ("NONE", "LIGHT"):  # the same pixels
            del content["recipe"]["augment_on"]
        if self.weights_digest is not None:
            content["weights"] = "file"
        return text_digest(json.dumps(content, sort_keys=True))[:16]

    @property
    def frozen_epochs(self) -> int:
        """Epochs at the start with the encoder frozen: none where it is not pretrained, or never trained anyway."""
        is_staged = self.is_pretrained and get_architecture(self.architecture).adaptation == "staged"
        return int(self.recipe.epochs * self.recipe.frozen_fraction) if is_staged else 0

    @property
    def last_epoch(self) -> int:
        """The epoch that ends it, unless early stopping does."""
        return self.fixed_epochs or self.recipe.epochs

    @property
    def is_judged(self) -> bool:
        """Whether labelled tiles that it does not learn from judge its epochs."""
        return self.fixed_epochs is None

    @property
    def is_pretrained(self) -> bool:
        """Whether the encoder starts from pretrained weights."""
        return self.weights != "none" and get_architecture(self.architecture).encoder is not None

    @property
    def batch_size(self) -> int:
        """Draws per optimizer step."""
        return self.recipe.batch_size or get_architecture(self.architecture).batch_size

    @property
    def optimizer(self) -> Optimizer:
        """Name of the optimizer."""
        return self.recipe.optimizer or get_architecture(self.architecture).optimizer

    @property
    def loss_function(self) -> "Loss":
        """The loss with its weights; it computes with torch, which is imported when this is asked for."""
        loss: Loss = pkgutil.resolve_name("trainables.losses:Loss")(
            name=self.loss,
            bce_weight=self.bce_weight,
            focal_weight=self.focal_weight,
            cldice_weight=self.cldice_weight,
        )
        return loss

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The hyperparameters of the trial: those of all trials, and those that its loss and its architecture have."""
        names = ["lr", "augmentation", "decoder_dropout", "loss", *LOSS_WEIGHTS[self.loss]]
        if get_architecture(self.architecture).fine_tunes:
            names.append("encoder_lr_factor")
        return {name: getattr(self, name) for name in names} | self.settings

    @property
    def label(self) -> str:
        """The architecture's name for tables."""
        return get_architecture(self.architecture).label(small=self.recipe.small, weights=self.weights)

    @property
    def judged_metric(self) -> str:
        """The logged metric that ASHA, the sampler and the selection judge by, best so far."""
        center = self.recipe.val_center_px
        return "val/iou" if center is None else f"val/iou_center{center}"
