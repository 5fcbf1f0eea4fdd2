"""Reports of studies whose budgets are of all labels: what each row used, and how many labels are enough."""

import pytest

from analysis.report import captions
from analysis.report.conclude.conclusions import conclusions
from analysis.report.limits.study_warnings import study_warnings
from analysis.report.study_notes import study_notes
from analysis.tables.iou_tables import iou_by_architecture
from analysis.tables.spread import spread
from tests.analysis.made_up import MadeUp

BUDGETS = (5, 12, 24)


def of_labels(*, phase: str = "phase3_data_budget", **scores: float) -> MadeUp:
    """Two seeds of each number of labels such as `unet_5`, and two subsets of all but 24."""
    study = MadeUp("unet", tiles=BUDGETS, phase=phase, spec={"labels": BUDGETS}, val_tiles=[], train_tiles=["t"] * 24)
    for name, iou in scores.items():
        arm = name.replace("_", "-")
        for subset in range(1 if arm == "unet-24" else 2):
            for seed in range(2):
                spread = 0.01 * (-1) ** seed - 0.02 * subset
                study.model(arm, seed, subset=subset, test=[iou + spread + 0.02 * tile for tile in range(4)])
    return study


def test_budgets_of_labels_are_told_as_labels():
    text = conclusions([of_labels(unet_5=0.3, unet_12=0.595, unet_24=0.6).logs()])[1]
    assert text.startswith("12 labelled tiles ")
    assert "with 24 labels (unet)" in text


def test_rows_say_which_labels_were_used_and_by_how_much_folds_promised_too_much():
    study = of_labels(phase="phase2_tuning", unet_5=0.3, unet_12=0.4)
    for arm, folds, values in (("unet-5", 5, [0.4, 0.5]), ("unet-12", 4, [0.2, 0.45])):
        study.arms[arm]["folds"] = folds
        study.trial(arm, 7, values)
        study.select(arm, 7, max(values))
    logs = study.logs()
    table = iou_by_architecture(logs).set_index("tiles")
    assert table["labels"].to_dict() == {5: "5 (5 folds)", 12: "12 (4 folds)", 24: "24 (no val)"}
    assert table.loc[5, ["folds_iou", "folds_gap"]].to_list() == pytest.approx([0.5, 0.5 - table.loc[5, "test_iou"]])
    assert table["val_iou"].isna().all()
    assert captions.tiles_words(logs) == "24 labelled and 4 test tiles of roofs"
    assert "each label was predicted, as a whole tile, by a network" in captions.main_words(logs, table)
    study.config["judged_metric"] = "val/iou_center256"
    assert "each label was predicted, in the 256 px at its centre, by a" in captions.main_words(study.logs(), table)
    assert "as many epochs as its folds found best in the search" in study_notes(logs)[-1]


def searched(trials: int = 3, *, folds: tuple[list[str], ...] = (["a"], ["b"], ["c", "d"]), **spec: str) -> MadeUp:
    """A search by folds of four labels: the first is best on all, the others where the first is not."""
    by_tile = [[0.9, 0.3, 0.4, 0.4], [0.2, 0.5, 0.6, 0.6], [0.0, 0.0, 0.0, 0.0]][:trials]
    labels = {"train_tiles": [*"abcd"], "val_tiles": [], "spec": {"labels": [4]} | spec}
    study = MadeUp("unet", tiles=(4,), phase="phase2_tuning", **labels)
    study.arms["unet-4"] |= {"folds": len(folds), "fold_tiles": [*folds]}
    for number, values in enumerate(by_tile):
        study.trial("unet-4", number, [sum(values) / 4], by_tile=values)
    study.trial("unet-4", 9, [0.9], "stopped", by_tile=[0.9] * 4)  # which cannot be selected
    study.select("unet-4", 0, 0.5)
    return study


def test_optimism_of_folds_is_what_the_selected_trial_owes_to_the_fold_that_scores_it():
    """Without a the second trial leads (0.57 to 0.37); without b the first (0.57 to 0.47); without c, d, too."""
    study = searched()
    logs = study.logs()
    nested = (0.2 + 0.3 + 0.4 + 0.4) / 4
    (row,) = iou_by_architecture(logs).to_dict("records")
    assert (row["folds_iou"], row["nested_iou"]) == pytest.approx((0.5, nested))
    assert spread(logs)["optimism"].to_list() == pytest.approx([0.5 - nested])
    assert "by what the other folds would have selected" in captions.main_words(logs, iou_by_architecture(logs))
    (words,) = [words for words in study_warnings(logs) if "luck" in words]
    assert "unet with 4 labels (0.500, but about 0.325)" in words
    assert not any("luck" in words for words in study_warnings(searched(1).logs()))
    study.config["classes"] = ["ground", "roof", "road"]  # whose IoU is of the pixels of all tiles together
    assert iou_by_architecture(study.logs())["nested_iou"].isna().all()


@pytest.mark.parametrize(
    "study",
    [
        searched(1),
        searched(folds=(["a", "b"], ["c", "d"])),
        searched(folds=()),  # of an older log
        searched(vary="lr"),
    ],
)
def test_optimism_that_nobody_can_tell_is_missing(study):
    assert iou_by_architecture(study.logs())["nested_iou"].isna().all()


def test_rows_with_val_tiles_count_them():
    study = MadeUp("unet", tiles=(5,))
    study.models("unet-5", 2, test=[0.5] * 4, val=[0.5] * 2)
    table = iou_by_architecture(study.logs())
    assert table["labels"].to_list() == ["5 + 2 val"]
    assert "folds_gap" not in table
