"""What splits share is said before a study, logged, and refused where that is asked for."""

import io
import shutil
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from studies.inputs import load_inputs
from studies.seal.leaks import check_splits
from studies.seal.seal import Seal
from studies.spec import StudySpec
from tests.studies.command_lines import request_of
from trainables.common.errors import UserError
from trainables.config import Recipe


@pytest.fixture
def root(tmp_path, dataset_root):
    """Demo tiles, whose only test tile is another one, and whole."""
    root = Path(shutil.copytree(dataset_root, tmp_path / "tiles"))
    shutil.rmtree(root / "test")
    return root


def give_test_tile(root: Path, image: Path, turn: Image.Transpose = Image.Transpose.ROTATE_90) -> None:
    for kind in ("images", "masks"):
        (root / "test" / kind).mkdir(parents=True)
        path = next((image.parents[1] / kind).glob(f"{image.stem}.*"))
        Image.open(path).transpose(turn).save(root / "test" / kind / "copy.png")


@pytest.fixture
def check(root, tmp_path):
    """Checks the splits; gives what is shown and what is logged."""

    def look(*, strict: bool = False, is_tested: bool = True) -> tuple[str, list[str]]:
        spec = StudySpec(data=str(root), architectures=("unet",), wandb="disabled", recipe=Recipe(epochs=1, small=True))
        inputs = load_inputs(spec, Console(quiet=True))
        seal = Seal(inputs.dataset, out=tmp_path / "study", study="study", study_id="1") if is_tested else None
        if seal is not None:
            seal.check()
        console = Console(record=True, width=400, file=io.StringIO())
        checked = check_splits(inputs, seal, console, strict=strict)
        return console.export_text(), checked.facts["data_notes"]

    return look


def test_turned_copy_of_a_train_tile_among_the_test_tiles_is_said_and_logged(root, check):
    image = sorted((root / "train" / "images").iterdir())[1]
    give_test_tile(root, image)
    shown, logged = check()
    assert f"train tile {image.stem} and test tile copy" in shown
    assert f"train tile {image.stem} and test tile copy" in logged[-1]
    with pytest.raises(UserError, match=f"train tile {image.stem} and test tile copy.*--strict-splits"):
        check(strict=True)


def test_test_tiles_that_stay_sealed_are_not_looked_at(root, check):
    image = next((root / "train" / "images").iterdir())
    give_test_tile(root, image)
    assert check(is_tested=False) == ("", [])


def test_copy_of_a_train_tile_among_the_val_tiles_is_found_without_test_tiles(root, check):
    for kind in ("images", "masks"):
        path = min((root / "train" / kind).iterdir())
        shutil.copy(path, root / "val" / kind / f"copy{path.suffix}")
    shown, logged = check(is_tested=False)
    assert "and val tile copy" in shown
    assert len(logged) == 1


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


def test_splits_are_refused_by_a_flag(tmp_path):
    assert request_of("--out", str(tmp_path), "--strict-splits").options.strict_splits
    assert not request_of("--out", str(tmp_path)).options.strict_splits
