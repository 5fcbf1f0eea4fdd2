"""Images that are in several splits: found in all eight views and after small changes, and no others."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from trainables.data.duplicates import CHUNK, duplicates, thumbnails
from trainables.datasets.demo.layout import scene

Image = NDArray[np.uint8]


@functools.cache
def photograph(number: int) -> Image:
    return scene(number, size_px=128)[0]


def compress(image: Image) -> Image:
    brighter = np.clip(image * 1.2 + 10, 0, 255).astype(np.uint8)
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", brighter, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 1))


def said(**splits: list[NDArray[Any]]) -> tuple[str, ...]:
    named: Mapping[str, Any] = {
        split: ([f"{split}_{number}" for number in range(len(images))], thumbnails(images))
        for split, images in splits.items()
    }
    return duplicates(named)


CHANGES: dict[str, Callable[[Image], NDArray[Any]]] = {
    "none": lambda image: image,
    **{f"turned {turns}": (lambda image, turns=turns: np.rot90(image, turns)) for turns in (1, 2, 3)},
    **{
        f"mirrored, turned {turns}": (lambda image, turns=turns: np.rot90(image.transpose(1, 0, 2), turns))
        for turns in range(4)
    },
    "compressed": compress,
    "half the size": lambda image: image[::2, ::2],
    "in 16 bits": lambda image: image.astype(np.uint16) * 257,
    "another band left out": lambda image: image[..., :2],
}


@pytest.mark.parametrize("change", CHANGES)
def test_image_of_another_split_is_found(change):
    first, second, third = (photograph(number) for number in range(3))
    (note,) = said(train=[first, second], val=[third, CHANGES[change](second)])
    assert "(train tile train_1 and val tile val_1)" in note
    assert said(train=[first, second], val=[third]) == ()


def test_images_of_one_split_are_its_own_business():
    image = photograph(0)
    assert said(train=[image, image], val=[photograph(1)], test=[]) == ()


def test_every_pair_of_splits_is_compared():
    images = [photograph(number) for number in range(3)]
    (note,) = said(train=images[:2], val=[images[0], images[2]], test=[images[1], images[2]])
    for pair in (
        "train tile train_0 and val tile val_0",
        "train tile train_1 and test tile test_0",
        "val tile val_1 and test tile test_1",
    ):
        assert pair in note


def test_images_without_contrast_or_data_are_like_none():
    blank = np.full((32, 32, 3), 7, np.uint8)
    lost = np.full((32, 32, 3), np.nan, np.float32)
    assert said(train=[blank, lost], val=[blank, lost]) == ()


def test_many_tiles_are_compared_in_parts():
    noise = np.random.default_rng(0).random((CHUNK + 1, 16, 16, 1))
    (note,) = said(train=list(noise), val=[noise[-1]])
    assert f"(train tile train_{CHUNK} and val tile val_0)" in note


def test_different_demo_tiles_are_far_from_alike():
    small = thumbnails([photograph(number) for number in range(6)]).reshape(6, -1)
    others = small @ small.T - np.eye(6)
    assert others.max() < 0.8
