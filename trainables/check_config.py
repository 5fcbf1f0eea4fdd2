"""What could not be trained is refused before anything starts, with a setting that could be.

Whoever follows the advice is not refused again: faults of sizes come before others, and what is offered was tried.
"""

from typing import Any

from trainables.common.errors import UserError
from trainables.config import LEAST_WINDOW_PX, TrialConfig
from trainables.data.tiles import IGNORE, Tiles, TrainVal
from trainables.folds.split import judged_tiles
from trainables.models.composed.names import get_architecture


def check_config(config: TrialConfig, tiles: TrainVal) -> None:
    """Refuses what could not be trained, before anything starts.

    Raises:
        UserError: Too few tiles, or windows, draws or weights that fit neither tiles nor architecture.
    """
    recipe, row = config.recipe, get_architecture(config.architecture)
    train = tiles.budget(config.tiles, recipe.subset_seed).train
    if recipe.draws_per_epoch < config.batch_size:
        raise UserError(
            f"draws_per_epoch is {recipe.draws_per_epoch}, but must be at least the batch size of {config.batch_size}"
        )
    _check_folds(config)
    is_without = recipe.small and bool(row.small) and config.is_pretrained  # no small variant takes weights
    only_px = row.only_side(small=recipe.small)
    if only_px is None:
        also = f", and leave --weights {config.weights} out, which the small variant cannot take" if is_without else ""
        _check_any_side(config, train, row.stride, also)
    else:
        _check_one_side(config, tiles, train, only_px)
    if recipe.val_center_px is not None and config.is_judged:
        judged = judged_tiles(config, tiles.budget(config.tiles, recipe.subset_seed))
        _check_center(judged, recipe.val_center_px, "labels" if config.folds else "val tiles")
    if is_without:
        full = ", or take the full one with --no-small" if _is_accepted(config, tiles, small=False) else ""
        raise UserError(
            f"--weights {config.weights} is for the full {row.encoder}, but the small {config.architecture} has a "
            f"random encoder: drop these weights{full}"
        )


def _check_folds(config: TrialConfig) -> None:
    """Refuses folds that would be empty or train nothing, and a schedule that needs val where there is none."""
    if config.folds and config.tiles < 2:
        raise UserError(f"--labels is {config.tiles}, but folds hold some labels out of a search: use 2 or more")
    if config.folds and not 2 <= config.folds <= config.tiles:
        rule = f"must be from 2 to the {config.tiles} labels of a budget"
        raise UserError(f"--folds is {config.folds}, but {rule}: use 2 to {config.tiles}")
    if (config.folds or not config.is_judged) and config.recipe.schedule == "plateau":
        raise UserError(
            "--schedule is plateau, which waits for val, but with --labels final models have none: use cosine"
        )


def _check_center(tiles: Tiles, center_px: int, what: str) -> None:
    """Refuses centre windows in which nothing counts: no epoch could be judged."""
    if all((mask == IGNORE).all() for mask in tiles.center_windows(center_px).masks):
        raise UserError(
            f"--val-center-px is {center_px}, but every pixel there is void in all {what}: use --val-center-px none"
        )


def _is_accepted(config: TrialConfig, tiles: TrainVal, **changes: Any) -> bool:
    """Whether the configuration with changes of its recipe could be trained."""
    try:
        check_config(config.model_copy(update={"recipe": config.recipe.model_copy(update=changes)}), tiles)
    except UserError:
        return False
    return True


def _check_any_side(config: TrialConfig, train: Tiles, stride: int, also: str) -> None:
    """Refuses sides that the stride does not divide, and windows that are larger than a tile; `also` ends advice."""
    window, name = config.recipe.window_px, config.architecture
    sides = {side for mask in train.masks for side in mask.shape}
    least = -(-LEAST_WINDOW_PX // stride) * stride
    largest = min(sides) // stride * stride
    has_windows = largest >= least
    if window is None:
        advice = f"set --window-px {largest} to cut windows" if has_windows else f"use tiles of {least}×{least} px"
        if len(sides) > 1:
            raise UserError(
                f"train tiles have sides of {min(sides)} to {max(sides)} px, but training on whole tiles needs equal "
                f"squares: {advice}{also}"
            )
        if min(sides) % stride:
            raise UserError(f"tile side is {min(sides)} px, but {name} needs a multiple of {stride}: {advice}{also}")
        return
    if window % stride:
        nearest = max(least, window // stride * stride)
        advice = f"use {min(nearest, largest)}" if has_windows else f"use {least}, with tiles of {least} px or more"
        raise UserError(f"--window-px is {window}, but {name} needs a multiple of {stride}: {advice}{also}")
    if window > min(sides):
        raise UserError(
            f"--window-px is {window}, but the smallest train tile has a side of {min(sides)} px: "
            + (f"use {largest}" if has_windows else f"use tiles of {window} px or more")
            + also
        )


def _check_one_side(config: TrialConfig, tiles: TrainVal, train: Tiles, side: int) -> None:
    """Refuses what an architecture of one side cannot be trained on: it takes whole tiles or windows of that side.

    Val and test tiles may have any: they are predicted by windows of that side.
    """
    window, center = config.recipe.window_px, config.recipe.val_center_px
    faults, needed = [], []
    shapes = dict(zip(train.ids, (mask.shape for mask in train.masks), strict=True))
    small = {tile: shape for tile, shape in shapes.items() if min(shape) < side}
    others = small or {tile: shape for tile, shape in shapes.items() if shape != (side, side)}
    if small or (window is None and others):
        tile, (height, width) = next(iter(others.items()))
        faults.append(f"tile {tile} is {width}×{height} px")
        needed.append(f"tiles of {side}×{side} px" if small else f"--window-px {side}")
    if window not in (None, side):
        faults.append(f"--window-px is {window}")
        needed.append(f"--window-px {side}")
    if center not in (None, side):
        faults.append(f"--val-center-px is {center}")
        needed.append("--val-center-px none")
    if faults:
        has_small = bool(get_architecture(config.architecture).small) and not config.is_pretrained  # it has no weights
        takes_small = has_small and _is_accepted(config, tiles, small=True)
        smaller = ", or take the small variant with --small" if takes_small else ""
        raise UserError(
            f"{faults[0]}, but {config.architecture} takes {side} px only: use {' and '.join(needed)}{smaller}"
        )
