"""What `python -m studies.status` prints of a study that also trains the recipe."""

import json

import pytest

from studies.files import folder
from tests.studies.begun_study import UNET, Study

ROW = {"test_iou": 0.5, "models": [{}, {}]}


@pytest.mark.parametrize("is_recipe", [False, True])
def test_recipe_stands_below_what_was_retrained_and_belongs_to_a_complete_study(tmp_path, say, is_recipe):
    study = Study(tmp_path, architectures=["unet"], trials=2, with_recipe=True)
    scores = [0.3, 0.6][:: -1 if is_recipe else 1]  # the first trial is the recipe
    for score in scores:
        study.epochs(study.begin(), [score] * 3)
    study.finish()
    study.select()
    names = [arm.parent for arm in study.confirm(UNET)]
    assert names == (["unet-24"] if is_recipe else ["unet-24", "unet-24-recipe"])
    study.finish()
    path = tmp_path / "selection.json"
    rows = {arm: row | {"is_recipe": is_recipe} for arm, row in json.loads(path.read_text()).items()}
    folder.write_json(path, rows)
    folder.write_json(tmp_path / "models.json", {"unet-24": ROW})
    assert ("not running" in say(tmp_path)) == (not is_recipe)
    folder.write_json(tmp_path / "models.json", dict.fromkeys(names, ROW))
    said = say(tmp_path)
    assert ": complete" in said
    shown = [line.split()[0] for line in said.splitlines() if line.startswith(("unet-24 ", "  "))]
    assert shown == ["unet-24", "retrained", "recipe"][: 1 + len(names)]
