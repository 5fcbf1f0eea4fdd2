"""The frozen spec of a study: everything that decides what it does, and the arms that follow from it."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from searchspace.spaces import Hyperparameter, Point, num_levels, value_of
from studies.profiles import REFERENCE, PhaseName, ProfileName
from studies.settings.arms import Arm
from studies.settings.fields import Band, Weights, of_different_files, taken
from studies.tuned_config import TunedConfig
from trainables.common.command import path_of, validate
from trainables.config import Recipe
from trainables.folds.split import default_folds
from trainables.models.composed.names import check_form

WandbMode = Literal["offline", "online", "disabled"]

WHERE = ("data", "address", "cpus_per_trial", "gpus_per_trial", "wandb", "tensorboard")
"""Fields that say where a study runs and logs: they may change when it is resumed."""

GROWS = ("trials", "seeds", "test", "with_recipe")
"""Allowances, which may grow when a study is resumed; and what may be added then: test scores, and the recipe."""

FIRST_SEEDS, MOST_SEEDS = 3, 10
"""Of `--seeds auto`."""

BUDGETS = (5, 12, 24)
"""Tiles that phase 3 learns from, as far as there are so many. Source: the reference study's data-budget ablation."""


class StudySpec(BaseModel):
    """What a person asks for; the fields are flags and YAML keys of the same names, and so are those of `Recipe`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    phase: PhaseName = "phase2_tuning"
    chosen: dict[str, TunedConfig] = Field(default={}, description="phase 3: the configuration of each architecture")
    bf16: bool | None = Field(default=None, description="whether CPUs compute in bf16; None: not settled")
    data: Annotated[str, AfterValidator(path_of)] | None = Field(
        default=None, description="folder of tiles (see README); built-in demo tiles if left out"
    )
    bands: tuple[Band, ...] | None = Field(
        default=None,
        min_length=1,
        description="bands of the images to use, by name or number from 1, e.g. red green blue; all if left out",
    )
    architectures: Annotated[
        tuple[Annotated[str, BeforeValidator(taken), AfterValidator(check_form)], ...],
        BeforeValidator(of_different_files),
    ] = Field(
        default=REFERENCE,
        min_length=1,
        description="which to compare: names of the table, or DECODER:ENCODER, such as unet:efficientnet_lite0@frozen, "
        "or PATH.py:FUNCTION, a function of yours that gives a network (see README)",
    )
    tiles: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        default=None, min_length=1, description="data budgets, each an arm of every architecture; all tiles if left out"
    )
    labels: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        default=None,
        min_length=1,
        description="instead of --tiles, budgets of all that was labelled: train and val tiles are one pool, folds of "
        "a budget judge its trials, and final models learn from all of it",
    )
    folds: int | None = Field(
        default=None, description="folds of each budget of --labels; 5 if left out, below 8 labels one per label"
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
    recipe_point: tuple[str, ...] = Field(
        default=(),
        description="NAME=VALUE of hyperparameters that every recipe has in place of its own value: what is trained "
        "without a search, and where a search starts, which still varies them",
    )
    sampler: Literal["tpe", "gp", "random"] = Field(
        default="tpe",
        description="what proposes a search's trials: tpe or gp (a Gaussian process), from what was seen so far, or "
        "random",
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
    with_recipe: bool = Field(
        default=False,
        description="also train what each search started from, the recipe, as final models: what tuning bought",
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
    ensembles: bool = Field(
        default=False, description="also score each arm's final models together on test, by their mean probability"
    )
    tta: bool = Field(
        default=False, description="also score final models on test by the mean over a tile's eight symmetries"
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
        return _values(self.fix)

    @property
    def changed(self) -> Point:
        """What `recipe_point` and `fix` say, by name; `fix` has the last word."""
        return _values(self.recipe_point) | self.fixed

    @property
    def has_search(self) -> bool:
        """Whether it chooses configurations itself."""
        return self.phase == "phase2_tuning"

    @property
    def has_subsets(self) -> bool:
        """Whether its final models learn from several subsets of the tiles."""
        return self.phase == "phase3_data_budget"

    @property
    def num_confirming(self) -> int:
        """The most final models that follow on the search of an arm."""
        return self.seeds * (2 if self.with_recipe else 1)

    @property
    def most_trials(self) -> int:
        """The most trials that an arm has in a stage."""
        searched = self.trials if self.has_search else 0
        if self.vary is not None:
            searched = self.seeds * num_levels(self.vary)
        return max(searched, (self.max_seeds or self.seeds) * (self.subsets if self.has_subsets else 1))

    def arms(self) -> tuple[Arm, ...]:
        """Architecture × data budget, in the order given."""
        budgets = self.labels or self.tiles
        assert budgets is not None, "run_study fills the budgets in"
        return tuple(Arm(architecture, tiles) for architecture in self.architectures for tiles in budgets)

    def wanted_folds(self, budget: int) -> int:
        """Folds that a budget of labels is cut into where its places allow so many (`labels.networks_by_budget`)."""
        return default_folds(budget) if self.folds is None else self.folds

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


def _values(items: Iterable[str]) -> Point:
    """The values of `NAME=VALUE`, by name."""
    return {name: value_of(name, text) for name, _, text in (item.partition("=") for item in items)}
