"""What splits share is said before a study, logged, and refused where that is asked for."""

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from studies.inputs import load_inputs
from studies.seal.leaks import check_splits
from studies.seal.seal import seals_of
from studies.spec import StudySpec
from tests.studies.command_lines import request_of
from trainables.common.errors import UserError
from trainables.config import Recipe


@pytest.fixture
def root(tmp_path, dataset_root):
    """Demo tiles, whose only test tile is the first train tile, turned."""
    root = Path(shutil.copytree(dataset_root, tmp_path / "tiles"))
    shutil.rmtree(root / "test")
    for kind in ("images", "masks"):
        (root / "test" / kind).mkdir(parents=True)
        image = Image.open(min((root / "train" / kind).iterdir()))
        image.transpose(Image.Transpose.ROTATE_90).save(root / "test" / kind / "copy.png")
    return root


@pytest.fixture
def check(root, tmp_path):
    """Checks the splits; gives what is shown and what is logged."""

    def look(*, strict: bool = False, is_tested: bool = True, **changes: Any) -> tuple[str, list[str]]:
        recipe = Recipe(epochs=1, small=True, schedule="cosine")
        spec = StudySpec(data=str(root), architectures=("unet",), wandb="disabled", recipe=recipe, **changes)
        inputs = load_inputs(spec, Console(quiet=True))
        about = {"out": tmp_path / "study", "study": "study", "study_id": "1"}
        seals = seals_of(inputs.dataset, inputs.rule, **about) if is_tested else ()
        for seal in seals:
            seal.check()
        console = Console(record=True, width=400, file=io.StringIO())
        checked = check_splits(inputs, seals, console, strict=strict)
        return console.export_text(), checked.facts["data_notes"]

    return look


def test_turned_copy_of_a_train_tile_among_the_test_tiles_is_said_and_logged_unless_they_stay_sealed(root, check):
    pair = f"train tile {min((root / 'train' / 'images').iterdir()).stem} and test tile copy"
    shown, logged = check()
    assert pair in shown
    assert pair in logged[-1]
    assert check(is_tested=False) == ("", [])
    with pytest.raises(UserError, match=f"{pair}.*--strict-splits"):
        check(strict=True)


def test_copy_of_a_train_tile_among_the_val_tiles_is_found_without_test_tiles(root, check):
    for kind in ("images", "masks"):
        path = min((root / "train" / kind).iterdir())
        shutil.copy(path, root / "val" / kind / f"again{path.suffix}")
    shown, logged = check(is_tested=False)
    assert "and val tile again" in shown
    assert len(logged) == 1


def test_further_test_sets_are_looked_at_too_and_told_by_their_names(root, check):
    for kind in ("images", "masks"):
        path = min((root / "train" / kind).iterdir())
        (root / "test-b" / kind).mkdir(parents=True)
        shutil.copy(path, root / "test-b" / kind / f"again{path.suffix}")
    shown, logged = check()
    assert f"train tile {path.stem} and test-b tile again" in shown
    assert "test tile copy and test-b tile again" not in logged[-1]
    image = next((root / "test-b" / "images").iterdir())
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    with pytest.raises(UserError, match="is damaged or truncated"):
        check()
    assert check(is_tested=False) == ("", [])


def test_place_of_several_splits_is_said(root, check):
    tiles = {split: min((root / split / "images").iterdir()).stem for split in ("train", "val")}
    content = (root / "dataset.json").read_text()
    assert content.startswith("{")
    groups = ", ".join(f'"{tile}": "north"' for tile in tiles.values())
    (root / "dataset.json").write_text(content.replace("{", f'{{"groups": {{{groups}}}, ', 1))
    shown, logged = check(is_tested=False)
    assert "north (train, val)" in shown
    assert logged == []  # the report finds it by itself
    with pytest.raises(UserError, match="north"):
        check(strict=True, is_tested=False)
    assert check(is_tested=False, labels=(4,)) == ("", [])  # they are one pool, and folds part no place


def test_splits_are_refused_by_a_flag(tmp_path):
    assert request_of("--out", str(tmp_path), "--strict-splits").options.strict_splits
    assert not request_of("--out", str(tmp_path)).options.strict_splits
