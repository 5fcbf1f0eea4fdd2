"""What the W&B run of a study says of it: its settings, tiles and arms."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import chain
from typing import cast

from analysis.logs.run_configs import ArmFacts, StudyRunConfig
from studies.backend.slots import Slots
from studies.inputs import StudyInputs
from studies.settings.arms import Arm
from studies.spec import StudySpec
from trainables.attempts.reference import ATTEMPTS
from trainables.common.splits import TEST
from trainables.data.pictures import GAP_PX, class_color
from trainables.folds.split import split
from trainables.metrics import class_pixels, constant_scores
from trainables.models.composed.names import get_architecture


def log_config(
    inputs: StudyInputs, parameters: Mapping[str, tuple[int, int]], name: str, slots: Slots
) -> StudyRunConfig:
    """What the W&B run of the study `name` says of it; `parameters` as `parameters_by_architecture` has them."""
    spec, tiles, info = inputs.spec, inputs.tiles, inputs.tiles.info
    num_classes, center = len(info.classes), spec.recipe.val_center_px
    label, trivial = constant_scores(inputs.judging.masks, num_classes)
    judged = trivial if center is None else constant_scores(inputs.judging.center_windows(center).masks, num_classes)[1]
    splits = {"train": tiles.train} | ({"val": tiles.val} if spec.labels is None else {})
    pixels = {split: class_pixels(its.masks, num_classes) for split, its in splits.items()}
    sealed = {files.split: [tile.id for tile in files.tiles] for files in inputs.dataset.test_sets}
    config: StudyRunConfig = {
        "study": name,
        "phase": spec.phase,
        "spec": spec.flat(),
        "profile": spec.profile,
        "seed": spec.seed,
        "judged_metric": spec.judged_metric,
        "arms": [
            about
            for arm in spec.arms()
            for about in _with_recipe(arm, spec, _about(arm, inputs, parameters[arm.architecture]))
        ],
        "trivial": {"class": info.classes[label], "iou": trivial.iou, "f1": trivial.f1, "judged": judged.iou},
        "train_tiles": list(tiles.train.ids),
        "val_tiles": list(tiles.val.ids),
        "test_tiles": sealed[TEST],
        "classes": list(info.classes),
        "class_colors": ["#{:02x}{:02x}{:02x}".format(*class_color(info, i)) for i in range(num_classes)],
        "panel_gap_px": GAP_PX,
        "adapted_bands": [] if tiles.is_photograph else list(info.bands),
        "class_pixels": {split: counts for split, (counts, _) in pixels.items()},
        "ignored_pixels": {split: ignored for split, (_, ignored) in pixels.items()},
        "groups": {
            tile: info.groups[tile]
            for tile in (*tiles.train.ids, *tiles.val.ids, *chain.from_iterable(sealed.values()))
            if tile in info.groups
        },
        "slots": {"count": slots.count, "cpus": slots.cpus, "gpus": slots.gpus},
        "num_train_tiles": inputs.facts["num_train_tiles"],
    }
    if len(sealed) > 1:
        config["further_tiles"] = {split: ids for split, ids in sealed.items() if split != TEST}
    figures = published_figures(spec)
    return cast("StudyRunConfig", {**config, **inputs.facts, **({"published": figures} if figures else {})})


def published_figures(spec: StudySpec) -> dict[str, dict[str, float]]:
    """The reference study's figures of each architecture; none but for phase 1 of `full`, which has its recipe.

    Returns:
        By architecture: `val_iou`, `val_f1`, `test_iou` and `test_f1` in 0..1, `best_epoch`, and `minutes` on a T4.
    """
    if spec.phase != "phase1_comparison" or spec.profile != "full":
        return {}
    figures = {attempt.architecture: asdict(attempt.figures) for attempt in ATTEMPTS.values()}
    return {name: figures[name] for name in spec.architectures if name in figures}


def _input_words(arm: Arm, inputs: StudyInputs) -> str:
    """What sides the network takes and how its pixels are normalised, such as `sides divide by 32 px; …`."""
    row, spec = get_architecture(arm.architecture), inputs.spec
    only_px = row.only_side(small=spec.recipe.small)
    sides = f"sides divide by {row.stride} px" if only_px is None else f"sides are {only_px} px"
    expected = row.expected_pixels(arm.weights(spec), is_photograph=inputs.tiles.is_photograph)
    statistics = "the mean and std of the train tiles"
    if expected is not None:
        mean, std = (", ".join(f"{value:.3g}" for value in its) for its in (expected.mean, expected.std))
        statistics = f"mean {mean} and std {std} of 1, which its weights expect"
    return f"{sides}; pixels are normalised by {statistics}"


def _with_recipe(arm: Arm, spec: StudySpec, about: ArmFacts) -> list[ArmFacts]:
    """The facts of an arm, and those of its recipe where that is trained, too: the same, but nothing is searched."""
    if not spec.with_recipe:
        return [about]
    recipe = replace(arm, is_recipe=True)
    beside: ArmFacts = {**about, "arm": recipe.name, "architecture_label": recipe.label(spec), "recipe_of": arm.name}
    beside |= {"trials": 0, "space": {}, "ranges": {}}
    del beside["source"]
    return [about, beside]


def _about(arm: Arm, inputs: StudyInputs, parameters: tuple[int, int]) -> ArmFacts:
    """What the study's run says of an arm; `parameters` are those that are trained, and those that never are."""
    spec, row = inputs.spec, get_architecture(arm.architecture)
    space, chosen = arm.space(spec), spec.chosen.get(arm.architecture)
    trained, frozen = parameters
    weights = arm.weights(spec)
    facts: ArmFacts = {
        "arm": arm.name,
        "architecture": arm.architecture,
        "architecture_label": arm.label(spec),
        "is_stand_in": arm.label(spec) != arm.architecture,
        "track": row.track,
        "has_encoder": row.encoder is not None and row.adaptation != "scratch",
        "decoder": row.decoder or row.name,
        "encoder": row.encoder or "",
        "adaptation": row.adapted(weights),
        "source": f"{row.source}; {_input_words(arm, inputs)}",
        "weights": weights.rpartition("/")[2],
        "tiles": arm.tiles,
        "trials": spec.trials,
        "num_trainable": trained,
        "num_frozen": frozen,
        "space": {key: str(value) for key, value in space.items()},
        "ranges": {key: value.described() for key, value in space.items()},
    }
    if chosen is not None:
        facts["chosen"] = chosen.model_dump(mode="json")
    if inputs.num_networks(arm) > 1:
        config = arm.config(spec, {"lr": 1e-3}, inputs.digests, init_seed=0)
        parts = split(config, inputs.tiles.budget(arm.tiles, spec.recipe.subset_seed))
        facts["folds"] = len(parts)
        facts["fold_tiles"] = [list(part.tiles.val.ids) for part in parts]
    return facts
