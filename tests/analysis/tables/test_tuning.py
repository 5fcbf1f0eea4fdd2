"""What tuning bought: the recipe beside what was tuned from it, which competes with nothing."""

import pytest

from analysis.report.conclude.conclusions import conclusions
from analysis.report.conclude.leader import close_to_leader
from analysis.report.conclude.tuning import what_tuning_bought
from analysis.report.limits.study_warnings import study_warnings
from analysis.tables.arm_scores import iou_by_arm
from analysis.tables.contrasts import architecture_contrasts
from analysis.tables.iou_tables import iou_by_architecture
from analysis.tables.tuning import tuned_minus_recipe
from tests.analysis.made_up import MadeUp

TUNED = [0.5, 0.5, 0.5, 0.5]


def tuned(*by_recipe: list[float], is_recipe: bool = False) -> MadeUp:
    """A search that `TUNED` came of, by as many models as the recipe has."""
    study = MadeUp("unet", "sam_conv", phase="phase2_tuning", spec={"with_recipe": True})
    study.trial("unet-24", 0, [0.5])
    study.select("unet-24", 0, 0.5)
    study.rows[-1] |= {"selection/is_recipe": is_recipe}
    study.models("unet-24", 3, test=TUNED, config={"hyperparameters": {"lr": 4e-4}})
    study.models("sam_conv-24", 3, test=[0.4] * 4)
    recipe = "unet-24-recipe"
    about = {"arm": recipe, "recipe_of": "unet-24", "architecture_label": "unet (recipe)"}
    study.arms[recipe] = study.arms["unet-24"] | about
    study.config["arms"].append(study.arms[recipe])
    for seed, test in enumerate(by_recipe):
        study.model(recipe, seed, test=test)
    return study


@pytest.mark.parametrize(
    ("by_recipe", "difference", "verdict", "words"),
    [
        (
            [0.4] * 4,
            0.1,
            "better",
            "tuning gained 0.100 (0.100 … 0.100) of test IoU over the recipe: train it as tuned",
        ),
        (
            [0.7] * 4,
            -0.2,
            "worse",
            "tuning lost 0.200 (0.200 … 0.200) of test IoU to the recipe: train it by the recipe",
        ),
        ([0.6, 0.4, 0.6, 0.4], 0.0, "no clear difference", "tuning made no clear difference of test IoU to the recipe"),
    ],
)
def test_tuning_gains_loses_or_neither(by_recipe, difference, verdict, words):
    study = tuned(*[by_recipe] * 3)
    (row,) = tuned_minus_recipe(study.logs()).to_dict("records")
    assert (row["contrast"], row["tiles"], row["models"], row["verdict"]) == ("unet", 24, 3, verdict)
    assert row["difference"] == pytest.approx(difference)
    (said,) = what_tuning_bought(study.logs())
    assert said.startswith(f"unet with 24 tiles: {words}")
    assert words[1:] in conclusions([study.logs()])[0]


def test_single_model_has_a_difference_and_no_verdict():
    (row,) = tuned_minus_recipe(tuned([0.4] * 4).logs()).to_dict("records")
    assert (row["models"], row["verdict"]) == (1, "unknown")


def test_recipe_that_the_search_selected_is_told_and_not_trained_twice():
    logs = tuned(is_recipe=True).logs()
    (row,) = tuned_minus_recipe(logs).to_dict("records")
    assert (row["contrast"], row["what"], row["verdict"]) == ("unet", "nothing", "the recipe")
    assert "the search selected the recipe" in what_tuning_bought(logs)[0]
    assert [arm["arm"] for arm in logs.study["arms"]] == ["unet-24", "sam_conv-24"]


def test_recipe_stands_beside_and_competes_with_nothing():
    logs = tuned(*[[0.9] * 4] * 3).logs()
    table = iou_by_architecture(logs)
    assert list(table["architecture"]) == ["unet", "unet (recipe)", "sam_conv"]
    assert table["behind"].isna().tolist() == [False, True, False]
    assert table.loc[1, "test_iou"] == pytest.approx(0.9)
    assert close_to_leader(logs)[0] == "unet-24"
    assert list(iou_by_arm(logs)["arm"]) == ["unet-24", "sam_conv-24"]
    assert not architecture_contrasts(logs)["contrast"].str.contains("recipe").any()


@pytest.mark.parametrize(("leader", "count"), [(0.4, 0), (0.6, 1)])
def test_recipe_above_another_architecture_that_leads_is_told(leader, count):
    study = tuned(*[[0.9] * 4] * 3)
    study.models("sam_conv-24", 1, test=[leader] * 4, subset=1)
    study.rows = [row for row in study.rows if row.get("model/arm") != "sam_conv-24" or row["model/subset"] == 1]
    words = "which alone are compared: unet (recipe) with 24 tiles (0.900)."
    assert sum(words in warning for warning in study_warnings(study.logs())) == count


def test_study_without_recipes_has_no_such_table():
    assert tuned_minus_recipe(MadeUp("unet").logs()).empty
