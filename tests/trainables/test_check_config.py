"""What could not be trained is refused, with advice that is true: whoever follows it is not refused again."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from trainables.check_config import check_config
from trainables.common.errors import UserError
from trainables.config import Recipe, TrialConfig
from trainables.data.tiles import IGNORE, Tiles, TrainVal
from trainables.models.architectures import ARCHITECTURES


def of_side(tiles: TrainVal, *sides: tuple[int, int]) -> TrainVal:
    """Black train tiles of these (height, width)."""
    ids = tuple(f"train_{number}" for number in range(len(sides)))
    images = tuple(np.zeros((*side, 3), np.uint8) for side in sides)
    return replace(tiles, train=Tiles(ids, images, tuple(np.zeros(side, np.uint8) for side in sides)))


def test_check_accepts_what_fits(make_config, tiles):
    check_config(make_config(), tiles)
    check_config(make_config(window_px=48), tiles)
    check_config(make_config(window_px=32, tiles=2), of_side(tiles, (33, 64), (50, 41)))


def test_check_refuses_centre_windows_in_which_nothing_counts(make_config, tiles, refusal):
    masks = tuple(np.array(mask) for mask in tiles.val.masks)
    for mask in masks:
        mask[16:48, 16:48] = IGNORE
    void = replace(tiles, val=replace(tiles.val, masks=masks))
    message = refusal(lambda: check_config(make_config(val_center_px=32), void))
    assert message == (
        "--val-center-px is 32, but every pixel there is void in all val tiles: use --val-center-px none"
    )
    check_config(make_config(val_center_px=None), void)
    check_config(make_config(val_center_px=48), void)


SQUARE = (64, 64)
UNEVEN = "train tiles have sides of 48 to 64 px, but training on whole tiles needs equal squares: "
SMALLEST = "--window-px is 64, but the smallest train tile has a side of "


@pytest.mark.parametrize(
    ("changes", "sizes", "words"),
    [
        ({"window_px": 33}, [SQUARE], "--window-px is 33, but unet needs a multiple of 16: use 32"),
        ({"window_px": 40}, [SQUARE], "--window-px is 40, but unet needs a multiple of 16: use 32"),
        ({"window_px": 63}, [SQUARE], "--window-px is 63, but unet needs a multiple of 16: use 48"),
        ({"window_px": 64}, [SQUARE, (64, 50)], SMALLEST + "50 px: use 48"),
        ({"window_px": 64}, [(31, 31)], SMALLEST + "31 px: use tiles of 64 px or more"),
        ({}, [SQUARE, SQUARE, (48, 48)], UNEVEN + "set --window-px 48 to cut windows"),
        ({}, [(50, 50)], "tile side is 50 px, but unet needs a multiple of 16: set --window-px 48 to cut windows"),
        ({"draws_per_epoch": 3}, [SQUARE], "draws_per_epoch is 3, but must be at least the batch size of 4"),
        ({}, [(17, 17)], "tile side is 17 px, but unet needs a multiple of 16: use tiles of 32×32 px"),
        ({"tiles": 4}, [SQUARE] * 3, "--tiles 4 asks for 4 train tiles, but there are 3: ask for 1 to 3"),
    ],
)
def test_check_refuses_what_does_not_fit(make_config, tiles, changes, sizes, words, refusal):
    config = make_config(**{"tiles": len(sizes), "batch_size": 4, "draws_per_epoch": 8} | changes)
    assert refusal(lambda: check_config(config, of_side(tiles, *sizes))) == words


# Advice


def followed(message: str, config: TrialConfig, tiles: TrainVal) -> Iterator[tuple[str, TrialConfig, TrainVal]]:
    """What one has who follows each of the alternatives that a refusal offers."""
    advice = message.rpartition(": ")[2]
    for way in advice.split(", or "):
        recipe, others, trained_on = {}, {}, tiles
        if found := re.search(r"--window-px (\d+)|^use (\d+)", way):
            recipe["window_px"] = int(found[1] or found[2])
        if "--val-center-px none" in way:
            recipe["val_center_px"] = None
        if "--small" in way:
            recipe["small"] = True
        if "--no-small" in way:
            recipe["small"] = False
        if "drop these weights" in way or "and leave --weights w.pth out" in way:
            others["weights"] = "none"
        if found := re.search(r"tiles of (\d+)(×\d+)? px( or more)?", way):
            side = int(found[1])
            trained_on = of_side(tiles, *[(side, side)] * len(tiles.train))
            if found[3]:
                trained_on = of_side(tiles, *[(side + 5 * n, side + 3) for n in range(len(tiles.train))])
        assert recipe or others or trained_on is not tiles, f"no advice in {way!r}"
        changed = Recipe(**config.recipe.model_dump() | recipe)  # within the flags' own bounds, too
        yield way, config.model_copy(update={"recipe": changed} | others), trained_on


SIDES = [*range(8, 101)]
WINDOWS = (None, 33, 64, 128)
KINDS = {(row.stride, row.only_px, bool(row.small), row.encoder is None): name for name, row in ARCHITECTURES.items()}
"""What is looked at of an architecture, and one of each kind."""


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("weights", ["none", "w.pth"])
@pytest.mark.parametrize("name", KINDS.values())
def test_advice_that_is_followed_is_accepted(make_config, tiles, name, weights, small):
    refused = 0
    for side in SIDES:
        for more in (0, 7) if side % 4 == 0 else (0,):
            given = of_side(tiles, (side, side), (side + more, side))
            for window in WINDOWS:
                center = 48 if side % 3 == 0 else None
                config = make_config(
                    architecture=name, tiles=2, window_px=window, val_center_px=center, weights=weights, small=small
                )
                try:
                    check_config(config, given)
                    continue
                except UserError as error:
                    message = str(error)
                refused += 1
                for way, changed, trained_on in followed(message, config, given):
                    try:
                        check_config(changed, trained_on)
                    except UserError as error:
                        raise AssertionError(f"{message!r}, but {way!r} gives {str(error)!r}") from error
    assert refused > 100


# One side only

WHOLE = (1024, 1024)


@pytest.mark.parametrize("name", ["sam_conv", "sam_unet"])
def test_architecture_of_one_side_takes_tiles_or_windows_of_it(make_config, tiles, name):
    whole = of_side(tiles, WHOLE, WHOLE)
    full: dict[str, Any] = {"architecture": name, "tiles": 2, "small": False}
    check_config(make_config(**full), whole)
    check_config(make_config(**full, window_px=1024, val_center_px=1024), whole)
    check_config(make_config(**full, window_px=1024), of_side(tiles, (1024, 1500), (3000, 1024)))
    larger = replace(whole, val=of_side(tiles, (1000, 1024), (700, 5000)).train)  # val tiles may have any side
    check_config(make_config(**full), larger)
    check_config(make_config(architecture=name, window_px=64, val_center_px=48), tiles)


SMALL = ", or take the small variant with --small"


ONLY = "sam_unet takes 1024 px only: use "
RANDOM = "--weights sam.pth is for the full sam_vit_b, but the small sam_unet has a random encoder: drop these weights"
NEEDS_ALL = {"weights": "sam.pth", "window_px": 64, "val_center_px": 48}


@pytest.mark.parametrize(
    ("changes", "train", "words"),
    [
        ({"window_px": 512}, WHOLE, f"--window-px is 512, but {ONLY}--window-px 1024{SMALL}"),
        ({"val_center_px": 512}, WHOLE, f"--val-center-px is 512, but {ONLY}--val-center-px none{SMALL}"),
        ({}, (512, 512), f"tile train_0 is 512×512 px, but {ONLY}tiles of 1024×1024 px{SMALL}"),
        ({}, (1024, 512), f"tile train_0 is 512×1024 px, but {ONLY}tiles of 1024×1024 px"),
        ({}, (1024, 2048), f"tile train_0 is 2048×1024 px, but {ONLY}--window-px 1024"),
        (
            NEEDS_ALL,
            (64, 64),
            f"tile train_0 is 64×64 px, but {ONLY}tiles of 1024×1024 px and --window-px 1024 and --val-center-px none",
        ),
        ({"weights": "sam.pth", "small": True}, (64, 64), RANDOM),
        ({"weights": "sam.pth", "small": True}, WHOLE, f"{RANDOM}, or take the full one with --no-small"),
    ],
)
def test_architecture_of_one_side_names_all_that_it_needs(make_config, tiles, changes, train, words, refusal):
    config = make_config(**{"architecture": "sam_unet", "tiles": 2, "small": False} | changes)
    assert refusal(lambda: check_config(config, of_side(tiles, train, train))) == words
