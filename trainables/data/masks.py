"""Mask files to class indices: what their values or colours mean, judged over all masks of a data set together.

Values are classes where they can be; 0 and 255 are two classes, unless 255 is void. Palettes and colours go by
`colors_rgb` of dataset.json, or by black and white where there are two classes. Whatever could mean two things is
refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trainables.common.errors import UserError
from trainables.data.facts import TileFacts
from trainables.data.formats.mask import NEAR, Color, StoredMask
from trainables.data.layout.folder import named
from trainables.data.tiles import IGNORE, DatasetInfo

_MANY = 8
"""A mask with more values than this that are no class was smoothed or compressed, not mislabelled."""
_CONTRAST = 128
"""Grey levels by which a palette's background must be lighter than its foreground to be doubted."""


@dataclass(slots=True)
class MaskRule:
    """What the values of a data set's masks mean, learnt from its train and val masks.

    Attributes:
        info: Classes, their colours and `ignore_index`.
        foregrounds: Of two classes: the values that stand for the second one, and whether they are white, each with a
            mask that has it.
        colors: Of palettes whose values are classes: the colour of each class, with a mask that has it.
    """

    info: DatasetInfo
    foregrounds: dict[tuple[int, bool], StoredMask] = field(default_factory=dict)
    colors: dict[int, tuple[Color, Path]] = field(default_factory=dict)

    def check(self, mask: StoredMask) -> None:
        """Refuses a mask whose values mean something else than those of the others.

        Raises:
            UserError: They do not, or a value or colour is no class.
        """
        self._classes_by_value(mask)

    def learn(self, mask: StoredMask) -> None:
        """Checks a mask, and remembers what its values stand for.

        Raises:
            UserError: As `check`.
        """
        self.check(mask)
        if self._by_color(mask) is not None:
            return
        for value in self._foreground(mask):
            if not _is_bit(value, mask):
                self.foregrounds.setdefault((value, value == mask.white), mask)
        for value, color in (mask.colors or {}).items():
            self.colors.setdefault(value, (color, mask.path))

    def classes(self, mask: StoredMask) -> NDArray[np.uint8]:
        """(H, W) uint8 class indices with `IGNORE`.

        Raises:
            UserError: As `check`.
        """
        labels = self._classes_by_value(mask)
        if mask.pixels.dtype == np.uint8:  # nearly all masks, in a quarter of the time
            table = np.full(256, IGNORE, np.uint8)
            table[list(labels)] = list(labels.values())
            return np.asarray(cv2.LUT(mask.pixels, table), np.uint8)
        found = np.full(mask.pixels.shape, IGNORE, np.uint8)
        for value, label in labels.items():
            found[mask.pixels == value] = label
        return found

    def differs_by_color(self, mask: StoredMask) -> bool:
        """Whether colours say other classes than values would."""
        by_color = self._by_color(mask) or {}
        num_classes = len(self.info.classes)
        return any(value != label for value, label in by_color.items() if value < num_classes)

    def _classes_by_value(self, mask: StoredMask) -> Mapping[int, int]:
        by_color = self._by_color(mask)
        if by_color is not None:
            return by_color
        self._check_colors(mask)
        num_classes = len(self.info.classes)
        foreground = self._foreground(mask)
        if len(foreground) > 1:
            raise UserError(
                f"{mask.path} holds both {foreground[0]} and {foreground[1]}, but foreground must be one of them: mend "
                f'the mask, or, where {foreground[1]} is void, write "ignore_index": {foreground[1]} into dataset.json'
            )
        labels = {value: value for value in range(num_classes)} | dict.fromkeys(foreground, 1)
        if unknown := [value for value in mask.values if value != self.info.ignore_index and value not in labels]:
            raise self._no_class(mask, unknown)
        self._check_foreground(mask, foreground)
        return {value: labels[value] for value in mask.values if value != self.info.ignore_index}

    def _foreground(self, mask: StoredMask) -> list[int]:
        """The values of a mask of two classes that stand for the second one, without colours."""
        if len(self.info.classes) != 2:
            return []
        can_be = {1, 255, mask.white} - {self.info.ignore_index}
        return [value for value in mask.values if value in can_be]

    def _check_foreground(self, mask: StoredMask, foreground: list[int]) -> None:
        """Refuses 1 as the foreground of one mask and 255 of another, which may be void; white is always white."""
        for value in foreground:
            for (other, is_white), example in self.foregrounds.items():
                if value != other and not (value == mask.white and is_white) and not _is_bit(value, mask):
                    raise UserError(
                        f"{mask.path} holds {value} and {example.path} holds {other}, but the foreground must be the "
                        "same value in all masks: store them alike, or, where one is void, write it into dataset.json "
                        f'("ignore_index": {max(value, other)})'
                    )

    def _by_color(self, mask: StoredMask) -> dict[int, int] | None:
        """The class of each value by its colour; None where the values themselves are to be taken."""
        if mask.colors is None:
            return None
        colors = {v: c for v, c in mask.colors.items() if not (mask.is_indexed and v == self.info.ignore_index)}
        named_colors = list(self.info.colors_rgb or ())
        known = {tuple(c): i for i, c in enumerate(named_colors) if named_colors.count(c) == 1}
        if known and all(color in known for color in colors.values()):
            return {value: known[color] for value, color in colors.items()}
        if not mask.is_indexed:
            unknown = [color for color in colors.values() if color not in known]
            raise UserError(
                f"{mask.path} has the colour {unknown[0]}, "
                + ("which is no class's" if known else "but dataset.json does not say which class it is")
                + f': give each class its colour there ("colors_rgb": {_some_colors(colors, len(self.info.classes))}), '
                "or store class indices in one band"
            )
        if len(self.info.classes) == 2 and all(_is_black(color) or _is_white(color) for color in colors.values()):
            shown = {value: int(_is_white(color)) for value, color in colors.items()}
            if all(known.get(color, shown[value]) == shown[value] for value, color in colors.items()):
                return shown
        if any(known.get(color, value) != value for value, color in colors.items()):
            raise self._ambiguous(mask)
        if len(self.info.classes) != 2 or known:
            return None
        background = colors.get(0)
        if background and any(_grey(background) - _grey(color) >= _CONTRAST for color in colors.values()):
            raise self._ambiguous(mask)
        return None

    def _check_colors(self, mask: StoredMask) -> None:
        """Refuses a palette that paints a class otherwise than another mask's does: its values are no classes then."""
        for value, color in (mask.colors or {}).items():
            other, path = self.colors.get(value, (color, mask.path))
            if other != color:
                raise UserError(
                    f"{mask.path} paints value {value} as {color} and {path} as {other}, so values or colours may be "
                    f"the classes: {self._color_fix(mask)}"
                )

    def _ambiguous(self, mask: StoredMask) -> UserError:
        pairs = ", ".join(f"{value} is {color}" for value, color in list((mask.colors or {}).items())[:4])
        return UserError(
            f"{mask.path} has a palette ({pairs}) whose values and colours do not say the same classes: "
            f"{self._color_fix(mask)}"
        )

    def _color_fix(self, mask: StoredMask) -> str:
        return (
            'give each class its colour in dataset.json ("colors_rgb": '
            f"{_some_colors(mask.colors or {}, len(self.info.classes))}), or store class indices without a palette"
        )

    def _no_class(self, mask: StoredMask, unknown: list[int]) -> UserError:
        num_classes, ignored = len(self.info.classes), self.info.ignore_index
        white = "" if ignored == 255 else f" (or {65535 if mask.white == 65535 else 255})"
        allowed = f"0 and 1{white}" if num_classes == 2 else f"0 to {num_classes - 1}"
        by_color = "" if mask.colors is None else ", colors_rgb (the mask has a palette)"
        soft = f" and {len(unknown) - 1} more, as smoothing or JPEG makes them" if len(unknown) > _MANY else ""
        return UserError(
            f"{mask.path} holds the value {unknown[0]}{soft}, but a mask of {num_classes} classes may hold {allowed}"
            f"{'' if ignored is None else f' and {ignored} (ignored)'}: "
            f"mend the mask, or name classes{by_color} and ignore_index in dataset.json"
        )


def class_notes(train: Sequence[TileFacts], val: Sequence[TileFacts], info: DatasetInfo) -> tuple[str, ...]:
    """Notes on tiles without a pixel that counts, and on classes that are in no tile of a split.

    Raises:
        UserError: A split has no pixel that counts, or the train tiles have one class and void and nothing else.
    """
    notes = []
    for split, tiles in (("train", train), ("val", val)):
        if all(tile.is_void for tile in tiles):
            raise UserError(
                f"all {split} tiles are void or without data in every pixel, but a study needs some that count: mend "
                f"them{'' if info.ignore_index is None else f', or ignore_index in dataset.json ({info.ignore_index})'}"
            )
        void = [tile.id for tile in tiles if tile.is_void and tile.has_data]
        if void:
            notes.append(f"every pixel is void in {len(void)} of {len(tiles)} {split} tiles: {named(void)}")
        found = set[int]().union(*(tile.classes for tile in tiles))
        if split == "train" and IGNORE in found and len(found) == 2:
            raise _one_class(info.classes[min(found)], info.ignore_index)
        missing = [name for label, name in enumerate(info.classes) if label not in found]
        if missing:
            notes.append(f"no {split} tile has a pixel of {named(missing)}")
    return tuple(notes)


def mask_notes(masks: Iterable[StoredMask], rule: MaskRule) -> tuple[str, ...]:
    """Notes on masks whose values were not taken as they are stored."""
    cut, by_color = [], []
    for mask in masks:
        if mask.is_thresholded:
            cut.append(mask.path.name)
        if mask.is_indexed and rule.differs_by_color(mask):
            by_color.append(mask.path.name)
    notes = []
    if cut:
        notes.append(f"masks that JPEG left a few grey levels off black and white were cut at mid-grey: {named(cut)}")
    if by_color:
        notes.append(f"masks with a palette were taken by its colours, not by its numbers: {named(by_color)}")
    return tuple(notes)


def _one_class(name: str, void: int | None) -> UserError:
    words = f"the train masks hold nothing but {name} and void"
    if void is None:
        return UserError(f"{words}, so there is nothing to tell apart: label more classes")
    return UserError(
        f'{words} ({void}), so there is nothing to tell apart: take "ignore_index": {void} out of dataset.json if '
        f"{void} is a class, or label more classes"
    )


def _is_bit(value: int, mask: StoredMask) -> bool:
    """Whether a value is white in a file of fewer than eight bits, where nothing else can be."""
    return value == mask.white and value < 255


def _is_black(color: Color) -> bool:
    return max(color) <= NEAR


def _is_white(color: Color) -> bool:
    return min(color) >= 255 - NEAR


def _grey(color: Color) -> float:
    """Luma, 0..255. Source: ITU-R BT.601."""
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]


def _some_colors(colors: Mapping[int, Color], num_classes: int) -> str:
    """An example of `colors_rgb`: the mask's own colours, darkest first; dots where there are fewer than classes."""
    some = [list(color) for color in sorted(set(colors.values()), key=_grey)[:num_classes]]
    return f"[{', '.join(map(str, some))}{', …' if len(some) < num_classes else ''}]"
