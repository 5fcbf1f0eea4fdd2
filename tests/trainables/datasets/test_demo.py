import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.trainables.killing import digests
from trainables.common.errors import UserError
from trainables.datasets.demo import solids, write_demo_tiles
from trainables.datasets.demo.kinds import KINDS
from trainables.datasets.demo.layout import ROOF_FRACTION, scene
from trainables.datasets.demo.materials import linear
from trainables.datasets.demo.render import METRES_PER_PIXEL, Canvas
from trainables.datasets.demo.solids import Wing

SMALL = {"size_px": 128, "num_train": 4, "num_val": 2, "num_test": 1}
FEW = SMALL | {"num_train": 1, "num_val": 1, "num_test": 0}


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_tiles(tmp_path_factory.mktemp("demo") / "deep" / "tiles", **SMALL)


@pytest.fixture(scope="module")
def scenes() -> list[tuple[np.ndarray, np.ndarray]]:
    return [scene([7, i], size_px=192) for i in range(12)]


def test_scene_has_documented_shapes_types_values_and_shares_of_roofs(scenes):
    for image, mask in scenes:
        assert (image.shape, image.dtype) == ((192, 192, 3), np.uint8)
        assert (mask.shape, mask.dtype) == ((192, 192), np.uint8)
        assert set(np.unique(mask)) == {0, 1}
    fractions = [mask.mean() for _, mask in scenes]
    assert ROOF_FRACTION[0] <= min(fractions)
    assert max(fractions) <= ROOF_FRACTION[1]
    assert 0.15 < np.mean(fractions) < 0.35
    assert np.ptp(fractions) > 0.1


def test_scene_is_decided_by_its_seed_alone(scenes):
    np.random.seed(0)  # noqa: NPY002 - the global state must not matter
    for again, first in zip(scene([7, 2], size_px=192), scenes[2], strict=True):
        np.testing.assert_array_equal(again, first)
    assert (scene([8, 2], size_px=192)[1] != scenes[2][1]).any()
    np.testing.assert_array_equal(scene(5, size_px=128)[0], scene([5], size_px=128)[0])


def test_scene_colors_hardly_tell_roof_from_ground(scenes):
    def sample(chosen):
        pixels = np.concatenate([image.reshape(-1, 3) for image, _ in chosen]).astype(np.int64) >> 4
        return pixels @ (1, 16, 256), np.concatenate([mask.ravel() for _, mask in chosen]) == 1

    def iou(predicted, roof):
        return (predicted & roof).sum() / (predicted | roof).sum()

    (colors, roof), (val_colors, val_roof) = sample(scenes[:8]), sample(scenes[8:])
    share = (np.bincount(colors, roof, 4096) + 1) / (np.bincount(colors, minlength=4096) + 4)
    threshold = max(np.linspace(0.05, 0.7, 14), key=lambda at: iou(share[colors] > at, roof))
    assert iou(share[val_colors] > threshold, val_roof) < val_roof.mean() + 0.15  # val_roof.mean() is all-roof's IoU


@pytest.mark.parametrize(
    ("seed", "size_px", "value"), [(1, 127, "127"), (-1, 128, "-1"), ([1, -2], 128, "-2"), ([], 128, "[]")]
)
def test_scene_refuses_what_is_too_small(seed, size_px, value):
    with pytest.raises(UserError, match=r"\S: \S") as error:
        scene(seed, size_px=size_px)
    assert value in str(error.value)


def house(half_u_m: float = 3.0, half_v_m: float = 4.5) -> Canvas:
    canvas = Canvas(np.random.default_rng(3), 128)
    canvas.ground(0, 0, 0, 20, 20, canvas.look("soil"))
    wing = Wing(0, 0, half_u_m, half_v_m, "gable")
    solids.building(canvas, 0, 0, 0, [wing], pitch=0.5, eave_m=3, look=canvas.look("tile"))
    return canvas


def test_mask_is_the_roof_to_the_pixel_with_what_stands_on_it_and_without_what_hides_it():
    expected = np.zeros((128, 128), np.uint8)
    expected[64 - 30 : 64 + 30, 64 - 20 : 64 + 20] = 1  # 9 m by 6 m at 0.15 m/px
    np.testing.assert_array_equal(house().mask(), expected)
    canvas = house()
    solids.box(canvas, 0, 2, 0, 1, 1, 0.8, canvas.look("concrete"), on_roof=True)
    before = canvas.roof_fraction()
    assert before == house().roof_fraction()
    solids.tree(canvas, 0, -2, 5.0, linear((70, 92, 50)))
    after = canvas.roof_fraction()
    assert 0 < after < before
    canvas.ground(0, 0, 0.3, 20, 20, canvas.look("asphalt"))
    assert canvas.roof_fraction() == after


def test_photograph_darkens_the_side_away_from_the_sun():
    canvas = house(3.0, 3.0)
    image = canvas.photograph()
    toward = np.array(canvas.sun[:2]) / np.hypot(*canvas.sun[:2])

    def brightness(direction):
        # 0.8 m off the wall: the eave's shadow (3 m high, sun below 60 degrees) is longer than that.
        x, y = (64 + direction / np.abs(direction).max() * 3.8 / METRES_PER_PIXEL).astype(int)
        return image[y - 1 : y + 2, x - 1 : x + 2].mean()

    assert brightness(-toward) < 0.75 * brightness(toward)


def test_write_demo_tiles_leaves_the_whole_layout(tiles):
    info = json.loads((tiles / "dataset.json").read_text())
    assert info == {
        "classes": ["background", "roof"],
        "bands": ["red", "green", "blue"],
        "metres_per_pixel": 0.15,
    }  # and no groups: the scenes share no places
    names = {"train": [0, 1, 2, 3], "val": [4, 5], "test": [6]}
    expected = {f"{split}/{KINDS[i % 4].name}_{i:03d}": i for split, indices in names.items() for i in indices}
    images = {f"{p.parent.parent.name}/{p.stem}" for p in tiles.glob("*/images/*.jpg")}
    masks = {f"{p.parent.parent.name}/{p.stem}" for p in tiles.glob("*/masks/*.png")}
    assert images == masks == set(expected)
    for key, i in expected.items():
        split, tile = key.split("/")
        image, mask = scene([42, i], size_px=128)
        stored = cv2.imread(str(tiles / split / "masks" / f"{tile}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(stored, mask * 255)
        photo = cv2.imread(str(tiles / split / "images" / f"{tile}.jpg"))[..., ::-1]
        assert np.abs(photo.astype(int) - image).mean() < 6
    sheet = cv2.imread(str(tiles / "overview.png"))
    assert sheet.shape[:2] == (2 * 168, 6 * 306)
    assert not list(tiles.parent.glob(".*.part"))


def test_write_demo_tiles_tile_is_the_same_in_another_process_and_whatever_the_numbers(tiles, tmp_path):
    call = f"from pathlib import Path; from trainables.datasets.demo import *; write_demo_tiles(Path('few'), **{FEW})"
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([sys.executable, "-c", call], cwd=tmp_path, env=environment, check=True)
    for split, tile in (("train", "informal_000"), ("val", "suburb_001")):
        for file in (f"images/{tile}.jpg", f"masks/{tile}.png"):
            assert (tmp_path / "few" / split / file).read_bytes() == (tiles / "train" / file).read_bytes()


def test_write_demo_tiles_refuses_other_arguments_foreign_folders_and_those_that_lost_a_tile(tiles, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in tiles.rglob("*")}
    assert write_demo_tiles(tiles, **SMALL) == tiles
    with pytest.raises(UserError, match="exists"):
        write_demo_tiles(tiles, **{**SMALL, "seed": 43})
    assert {path: path.stat().st_mtime_ns for path in tiles.rglob("*")} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="mine exists"):
        write_demo_tiles(tmp_path / "mine", **SMALL)
    assert digests(tmp_path).keys() == {"mine/thesis.txt"}
    copied = shutil.copytree(tiles, tmp_path / "tiles")
    next((copied / "val" / "masks").iterdir()).unlink()
    with pytest.raises(UserError, match="remove it"):
        write_demo_tiles(copied, **SMALL)


def test_write_demo_tiles_leaves_nothing_half_written_and_refuses_numbers_that_are_too_small(tmp_path, monkeypatch):
    def full_disk(path, data):
        raise OSError(28, "No space left on device")

    for name, value in {"num_train": 0, "num_val": 0, "num_test": -1, "seed": -1, "size_px": 64}.items():
        with pytest.raises(UserError, match=name):
            write_demo_tiles(tmp_path / "tiles", **{**SMALL, name: value})
    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(UserError, match="No space left"):
        write_demo_tiles(tmp_path / "tiles", **SMALL)
    assert list(tmp_path.iterdir()) == []
