"""The arms of a study: what is compared, by which name, and the configuration of their trials."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from searchspace.ranges import Space
from searchspace.spaces import Point, recipe_point, space_for, trial_config
from trainables.config import TrialConfig
from trainables.models.composed.names import get_architecture
from trainables.models.own.names import OWN
from trainables.models.weights import encoder_of, weights_for
from trainables.names import LOSS_WEIGHTS

if TYPE_CHECKING:
    from studies.spec import StudySpec

RECIPE = "-recipe"
"""Ends the name of an arm that is the recipe of a search's."""


@dataclass(frozen=True, slots=True, order=True)
class Arm:
    """What gets a fair chance: an architecture with a data budget; the confirmation of what one selected; its recipe.

    Attributes:
        architecture: Its name.
        tiles: The data budget.
        confirms: Signature of the configuration that is retrained; empty for an arm of the search.
        is_recipe: Whether it is what the search started from, trained beside what that selected.
    """

    architecture: str
    tiles: int
    confirms: str = ""
    is_recipe: bool = False

    @property
    def parent(self) -> str:
        """The arm's name in tables: a confirmation's is that of the arm that it confirms."""
        return f"{self.architecture}-{self.tiles}{RECIPE if self.is_recipe else ''}"

    @property
    def name(self) -> str:
        """As in the ledger, W&B groups and checkpoint folders."""
        return f"{self.parent}{f'-confirmation-{self.confirms[:8]}' if self.confirms else ''}"

    def label(self, spec: "StudySpec") -> str:
        """The architecture's name for tables; a smaller variant never passes for the real thing."""
        label = get_architecture(self.architecture).label(small=spec.recipe.small, weights=self.weights(spec))
        return f"{label} (recipe)" if self.is_recipe else label

    def title(self, spec: "StudySpec") -> str:
        """Its name, with the variant behind it where that is not the real thing."""
        return replace(self, is_recipe=False).label(spec).replace(self.architecture, self.name, 1)

    def space(self, spec: "StudySpec") -> Space:
        """The ranges of its search."""
        return space_for(self.architecture, spec.fixed, spec.changed)

    def recipe(self, spec: "StudySpec") -> Point:
        """What it is trained with where nothing is searched."""
        return recipe_point(self.architecture, spec.changed)

    def weights(self, spec: "StudySpec") -> str:
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
        spec: "StudySpec",
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
        whole |= {name: spec.changed[name] for name in idle_before if name in spec.changed}
        own: dict[str, Any] = {} if draw_seed is None else {"draw_seed": draw_seed}
        if spec.bf16 and spec.recipe.precision == "auto":
            own["precision"] = "bf16"
        judged: dict[str, Any] = {}
        if spec.labels is not None and spec.has_search:
            judged["folds"] = spec.wanted_folds(self.tiles)
        elif spec.labels is not None:
            chosen = spec.chosen.get(self.architecture)
            epochs = spec.recipe.epochs if chosen is None or chosen.epochs is None else chosen.epochs
            judged["fixed_epochs"] = min(epochs, spec.recipe.epochs)
        return trial_config(
            self.architecture,
            whole,
            tiles=self.tiles,
            weights=weights,
            weights_digest=digests.get(encoder) if encoder is not None and weights != "none" else None,
            init_seed=init_seed,
            recipe=spec.recipe.model_copy(update=own),
            **judged,
        )
