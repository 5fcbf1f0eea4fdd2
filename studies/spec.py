"""The frozen spec of a study: everything that decides what it does, and the arms that follow from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from searchspace.ranges import Space
from searchspace.spaces import Point, num_levels, recipe_point, space_for, trial_config
from studies.profiles import REFERENCE, PhaseName, ProfileName
from studies.tuned_config import TunedConfig
from trainables.common.command import path_of, validate
from trainables.config import Recipe, TrialConfig
from trainables.models.composed.names import check_form, get_architecture
from trainables.models.own.files import check_one_file_per_name, take_file
from trainables.models.own.names import OWN
from trainables.models.weights import encoder_of, weights_for
from trainables.names import LOSS_WEIGHTS

WandbMode = Literal["offline", "online", "disabled"]
Hyperparameter = Literal[
    "augmentation",
    "lr",
    "loss",
    "bce_weight",
    "focal_weight",
    "cldice_weight",
    "decoder_dropout",
    "encoder_lr_factor",
]


def _weights_path(choice: str) -> str:
    """A choice of weights with `~` in its path as the home folder."""
    encoder = encoder_of(choice)
    return path_of(choice) if encoder is None else f"{encoder}={path_of(choice.removeprefix(f'{encoder}='))}"


Weights = Annotated[str, AfterValidator(_weights_path)]


def _taken(name: Any) -> Any:
    """The name for tables of an architecture, which a person may have given as that of a function of his file."""
    return take_file(name) if isinstance(name, str) else name


def _of_different_files(names: Any) -> Any:
    check_one_file_per_name(name for name in names if isinstance(name, str))
    return names


Band = Annotated[str, Field(coerce_numbers_to_str=True)]  # YAML has numbers without quotes

WHERE = ("data", "address", "cpus_per_trial", "gpus_per_trial", "wandb", "tensorboard")
"""Fields that say where a study runs and logs: they may change when it is resumed."""

GROWS = ("trials", "seeds", "test")
"""Allowances, which may grow when a study is resumed; and the test tiles, which may be opened then."""

FIRST_SEEDS, MOST_SEEDS = 3, 10
"""Of `--seeds auto`."""

BUDGETS = (5, 12, 24)
"""Tiles that phase 3 learns from, as far as there are so many. Source: the reference study's data-budget ablation."""


class StudySpec(BaseModel):
    """What a person asks for; the fields are flags and YAML keys of the same names, and so are those of `Recipe`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    phase: PhaseName = "phase2_tuning"
    chosen: dict[str, TunedConfig] = Field(default={}, description="phase 3: the configuration of each architecture")
    bf16: tuple[str, ...] | None = Field(default=None, description="what CPUs compute in bf16; None: not settled")
    data: Annotated[str, AfterValidator(path_of)] | None = Field(
        default=None, description="folder of tiles (see README); built-in demo tiles if left out"
    )
    bands: tuple[Band, ...] | None = Field(
        default=None,
        min_length=1,
        description="bands of the images to use, by name or number from 1, e.g. red green blue; all if left out",
    )
    architectures: Annotated[
        tuple[Annotated[str, BeforeValidator(_taken), AfterValidator(check_form)], ...],
        BeforeValidator(_of_different_files),
    ] = Field(
        default=REFERENCE,
        min_length=1,
        description="which to compare: names of the table, or DECODER:ENCODER, such as unet:efficientnet_lite0@frozen, "
        "or PATH.py:FUNCTION, a function of yours that gives a network (see README)",
    )
    tiles: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        default=None, min_length=1, description="data budgets, each an arm of every architecture; all tiles if left out"
    )
    trials: int = Field(default=32, ge=1, description="allowance: trials of each arm's search")
    vary: Hyperparameter | None = Field(
        default=None,
        description="instead of a search, try fixed values of this one hyperparameter with all else at the recipe: "
        f"{' | '.join(get_args(Hyperparameter))}",
    )
    fix: tuple[str, ...] = Field(
        default=(),
        description="NAME=VALUE of hyperparameters that no trial searches or takes from its architecture's recipe, "
        "e.g. loss=dice augmentation=NONE",
    )
    sampler: Literal["tpe", "random"] = Field(
        default="tpe", description="what proposes a search's trials: tpe, from what was seen so far, or random"
    )
    seeds: int = Field(
        default=3,
        ge=0,
        description="models trained of each final configuration, each with new seeds; auto: 3, and then more for those "
        "arms that val does not tell from the leader",
    )
    max_seeds: int | None = Field(
        default=None, ge=2, description="most seeds that an arm may get so; 10 if left out with --seeds auto"
    )
    subsets: int = Field(
        default=3, ge=1, description="subsets of tiles that each smaller budget is drawn as; every one with every seed"
    )
    best: int | None = Field(
        default=None,
        ge=1,
        description="how many of the architectures that were tuned to retrain, the best by val IoU; all if left out",
    )
    test: bool = Field(
        default=True, description="open the test tiles once for each arm's final models; --no-test leaves them sealed"
    )
    weights: tuple[Weights, ...] = Field(
        default=("none",),
        min_length=1,
        description="encoder weights: imagenet, coco (of DeepLabV3), none or the path of a state dict; for one encoder "
        "only: ENCODER=PATH",
    )
    seed: int = Field(default=42, ge=0, description="everything random follows from it")
    grace_epochs: int = Field(default=8, ge=1, description="ASHA's first rung: epochs that every trial gets")
    reduction_factor: int = Field(
        default=3, ge=2, description="ASHA keeps the best 1/n at each rung; rungs are n apart"
    )
    wandb: WandbMode = Field(default="offline", description="where W&B logs go: the study's folder, or online too")
    address: str | None = Field(default=None, description="Ray cluster, e.g. auto; this machine if left out")
    cpus_per_trial: int = Field(default=1, ge=1, description="CPU cores of one trial")
    gpus_per_trial: float | None = Field(
        default=None, ge=0, description="GPU share of one trial; from what the architectures need if left out"
    )
    overlays_every: int = Field(default=10, ge=1, description="epochs between a trial's pictures in W&B")
    tensorboard: bool = Field(default=False, description="also write the trials' curves for TensorBoard")
    profile: ProfileName = Field(default="quick", description="which defaults to start from")
    recipe: Recipe = Recipe()

    @model_validator(mode="before")
    @classmethod
    def _read_auto(cls, values: Any) -> Any:
        """Reads `--seeds auto`."""
        if isinstance(values, dict) and values.get("seeds") == "auto":
            return values | {"seeds": FIRST_SEEDS, "max_seeds": values.get("max_seeds") or MOST_SEEDS}
        return values

    @model_validator(mode="after")
    def _check_seeds(self) -> "StudySpec":
        if self.max_seeds is not None and not 2 <= self.seeds < self.max_seeds:
            raise ValueError(
                f"--max-seeds is {self.max_seeds} and --seeds is {self.seeds}, but arms are compared by 2 seeds "
                "or more, and get more then: give --seeds of at least 2, and --max-seeds above that"
            )
        return self

    @property
    def judged_metric(self) -> str:
        """The metric that every decision is made by."""
        center = self.recipe.val_center_px
        return "val/iou" if center is None else f"val/iou_center{center}"

    @property
    def fixed(self) -> Point:
        """What `fix` says, by name."""
        return {name: _value(name, text) for name, _, text in (item.partition("=") for item in self.fix)}

    @property
    def has_search(self) -> bool:
        """Whether it chooses configurations itself."""
        return self.phase == "phase2_tuning"

    @property
    def has_subsets(self) -> bool:
        """Whether its final models learn from several subsets of the tiles."""
        return self.phase == "phase3_data_budget"

    @property
    def most_trials(self) -> int:
        """The most trials that an arm has in a stage."""
        searched = self.trials if self.has_search else 0
        if self.vary is not None:
            searched = self.seeds * num_levels(self.vary)
        return max(searched, (self.max_seeds or self.seeds) * (self.subsets if self.has_subsets else 1))

    def arms(self) -> tuple["Arm", ...]:
        """Architecture × data budget, in the order given."""
        assert self.tiles is not None, "run_study fills the budgets in"
        return tuple(Arm(architecture, tiles) for architecture in self.architectures for tiles in self.tiles)

    @classmethod
    def from_flat(cls, settings: dict[str, Any]) -> "StudySpec":
        """The inverse of `flat`.

        Raises:
            UserError: A setting is missing, unknown or not allowed.
        """
        recipe = {name: value for name, value in settings.items() if name in Recipe.model_fields}
        study = {name: value for name, value in settings.items() if name not in recipe}
        return validate(cls, study | {"recipe": validate(Recipe, recipe)})

    def changes(self, frozen: "StudySpec") -> list[str]:
        """What this spec may not change in a study that began as `frozen`, each as `setting: then → now`."""
        then, now = frozen.flat(), self.flat()
        changed = [name for name in now if name not in WHERE and now[name] != then[name]]
        return [
            f"{name}: {then[name]} → {now[name]}" for name in changed if name not in GROWS or now[name] < then[name]
        ]

    def flat(self) -> dict[str, Any]:
        """The spec as flags and YAML keys."""
        content = self.model_dump(mode="json")
        recipe: dict[str, Any] = content.pop("recipe")
        return content | recipe


@dataclass(frozen=True, slots=True, order=True)
class Arm:
    """What gets a fair chance: an architecture with a data budget; or the confirmation of what one selected.

    Attributes:
        architecture: Its name.
        tiles: The data budget.
        confirms: Signature of the configuration that is retrained; empty for an arm of the search.
    """

    architecture: str
    tiles: int
    confirms: str = ""

    @property
    def parent(self) -> str:
        """The arm's name in tables: a confirmation's is that of the arm that it confirms."""
        return f"{self.architecture}-{self.tiles}"

    @property
    def name(self) -> str:
        """As in the ledger, W&B groups and checkpoint folders."""
        return f"{self.parent}{f'-confirmation-{self.confirms[:8]}' if self.confirms else ''}"

    def label(self, spec: StudySpec) -> str:
        """The architecture's name for tables; a smaller variant never passes for the real thing."""
        return get_architecture(self.architecture).label(small=spec.recipe.small, weights=self.weights(spec))

    def title(self, spec: StudySpec) -> str:
        """Its name, with the variant behind it where that is not the real thing."""
        return self.label(spec).replace(self.architecture, self.name, 1)

    def space(self, spec: StudySpec) -> Space:
        """The ranges of its search."""
        return space_for(self.architecture, spec.fixed)

    def recipe(self, spec: StudySpec) -> Point:
        """What it is trained with where nothing is searched."""
        return recipe_point(self.architecture, spec.fixed)

    def weights(self, spec: StudySpec) -> str:
        """The weights that its encoder starts from."""
        row = get_architecture(self.architecture)
        if row.file_digest:
            return OWN
        if row.encoder is None or row.adaptation == "scratch":
            return "none"
        choices = spec.weights
        if row.small and spec.recipe.small:  # takes none, so what is meant for all encoders is not meant for it
            choices = tuple(choice for choice in choices if encoder_of(choice) == row.encoder)
        weights = weights_for(choices, row.encoder)
        return "imagenet" if weights == "none" and row.needs_weights else weights

    def config(
        self,
        spec: StudySpec,
        point: Point,
        digests: Mapping[str, str],
        *,
        init_seed: int,
        draw_seed: int | None = None,
    ) -> TrialConfig:
        """The configuration of a trial of this arm at a point of its space.

        Args:
            spec: The study.
            point: The hyperparameters; those that it leaves out are the recipe's.
            digests: SHA-256 of the weights, by encoder.
            init_seed: Of the initialisation.
            draw_seed: Of the draws; the study's if None.
        """
        weights, encoder = self.weights(spec), get_architecture(self.architecture).encoder
        whole = self.recipe(spec) | point
        idle_before = [
            name for name in LOSS_WEIGHTS[whole["loss"]] if name not in whole
        ]  # where the point has another loss
        whole |= {name: spec.fixed[name] for name in idle_before if name in spec.fixed}
        own: dict[str, Any] = {} if draw_seed is None else {"draw_seed": draw_seed}
        if self.architecture in (spec.bf16 or ()):
            own["precision"] = "bf16"
        return trial_config(
            self.architecture,
            whole,
            tiles=self.tiles,
            weights=weights,
            weights_digest=digests.get(encoder) if encoder is not None and weights != "none" else None,
            init_seed=init_seed,
            recipe=spec.recipe.model_copy(update=own),
        )


def _value(name: str, text: str) -> Any:
    """A value as YAML reads it, and a number as what the hyperparameter takes."""
    is_float = name in TrialConfig.model_fields and TrialConfig.model_fields[name].annotation is float
    try:
        value = float(text) if is_float else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return text  # refused with its flag
    return value if isinstance(value, str | int | float) else text
