"""Checks what a study's final models came to against values worked out by hand."""

import math

import pandas as pd
import pytest

from analysis.tables import formatting as tables
from analysis.tables.arm_scores import comparable_scores, iou_by_arm, iou_by_model
from analysis.tables.comparison import bootstrap_check
from analysis.tables.contrasts import architecture_contrasts
from analysis.tables.iou_tables import iou_by_architecture, iou_by_tiles
from analysis.tables.settings import settings
from analysis.tables.spread import spread
from tests.analysis.made_up import TEST_TILES, MadeUp

THREE = ("unet", "unet_resnet34", "deeplabv3plus_resnet34")
FLAT = [0.5, 0.5, 0.5, 0.5]


def row(frame: pd.DataFrame, place: int = 0) -> dict:
    return frame.to_dict("records")[place]


@pytest.fixture
def tested() -> MadeUp:
    """Two architectures on the four test tiles of three places; the second has a single model."""
    study = MadeUp("unet", "unet_resnet34")
    study.model("unet-24", 0, test=[0.2, 0.4, 0.6, 0.8], val=[0.5, 0.7], epochs=3)
    study.model("unet-24", 1, test=[0.4, 0.6, 0.8, 1.0], val=[0.3, 0.5], epochs=5)
    study.model("unet_resnet34-24", 0, test=FLAT, val=[0.4, 0.4], epochs=1)
    return study


def test_iou_by_architecture_has_means_with_intervals_around_them_and_none_for_a_single_model(tested: MadeUp):
    frame = iou_by_architecture(tested.logs())
    first, second = frame.to_dict("records")
    assert (first["architecture"], first["tiles"], first["models"]) == ("unet", 24, 2)
    assert row(settings(tested.logs()))["augmentation"] == "MEDIUM"
    assert first["best_epoch"] == 4  # of 3 and 5
    assert first["test_iou"] == pytest.approx((0.5 + 0.7) / 2)
    assert first["test_f1"] == pytest.approx((2 * 0.5 / 1.5 + 2 * 0.7 / 1.7) / 2)
    assert first["val_iou"] == pytest.approx((0.6 + 0.4) / 2)
    assert first["minutes"] == pytest.approx(4.0)  # of 3 and 5 epochs of a minute
    assert first["trivial_iou"] == 0.25
    assert list(frame["architecture"]) == ["unet", "unet_resnet34"]
    assert frame["differs"].isna().all()  # how sure a single model is, nobody knows
    assert bootstrap_check(tested.logs()).empty
    assert 0 <= first["test_iou_low"] < 0.6 < first["test_iou_high"] <= 1
    assert all(math.isnan(second[f"{split}_iou_{end}"]) for split in ("val", "test") for end in ("low", "high"))
    shown = tables.shown(frame).to_dict("records")
    assert shown[1]["test_iou"] == "0.500 (n = 1)"
    assert shown[0]["test_iou"] == f"0.600 ({first['test_iou_low']:.3f} … {first['test_iou_high']:.3f})"


def test_ensembles_and_symmetries_have_a_column_each_and_a_tile_subset_counts_once():
    study = MadeUp("unet", phase="phase3_data_budget")
    for subset, seed, ensemble in ((0, 0, 0.6), (0, 1, 0.6), (1, 0, 0.9)):
        study.model("unet-24", seed, subset=subset, test=[0.5], ensemble_iou=ensemble, tta_iou=0.5 + seed / 10)
    (row,) = iou_by_architecture(study.logs()).to_dict("records")
    assert row["ensemble_iou"] == pytest.approx((0.6 + 0.9) / 2)
    assert row["tta_iou"] == pytest.approx((0.5 + 0.6 + 0.5) / 3)


def test_symmetries_have_the_interval_that_their_scores_by_tile_would_have_as_those_of_the_models():
    study = MadeUp("unet", "lavit")
    for seed, scores in enumerate(([0.5, 0.6, 0.4, 0.7], [0.6, 0.6, 0.5, 0.9])):
        turned = {"tta_iou": sum(scores) / 4, "tta_tiles": TEST_TILES, "tta_tile_iou": scores}
        study.model("unet-24", seed, test=scores, **turned)
        study.model("lavit-24", seed, test=scores, tta_iou=0.5)
    first, other = iou_by_architecture(study.logs()).to_dict("records")
    for end in ("", "_low", "_high"):
        assert first[f"tta_iou{end}"] == first[f"test_iou{end}"]
    assert math.isnan(other["tta_iou_low"])  # of an older record, without scores by tile


def test_iou_by_architecture_has_val_means_over_the_models_that_their_interval_is_of():
    study = MadeUp("unet")
    study.model("unet-24", 0, test=[0.5] * 4, val=[0.2, 0.2])
    study.model("unet-24", 1, test=[0.7] * 4, val=[0.2, 0.2])
    study.model("unet-24", 2, val=[0.8, 0.8])  # its score on test is missing
    first = row(iou_by_architecture(study.logs()))
    assert first["val_iou"] == pytest.approx((0.2 + 0.2 + 0.8) / 3)
    assert first["val_iou_low"] <= first["val_iou"] <= first["val_iou_high"]
    assert first["test_iou"] == pytest.approx(0.6)
    assert first["models"] == 2


def test_architectures_are_compared_on_the_models_that_both_have():
    """The second's models of the hard subset are missing: its mean is higher, and it is worse all the same."""
    study = MadeUp("unet", "unet_resnet34", phase="phase3_data_budget", tiles=(5,))
    for subset, level in enumerate((0.6, 0.4)):
        for seed in range(2):
            study.model("unet-5", seed, test=[level] * 4, subset=subset)
            if subset == 0:
                study.model("unet_resnet34-5", seed, test=[level - 0.02] * 4, subset=subset)
    first, second = iou_by_architecture(study.logs()).to_dict("records")
    assert (first["architecture"], second["architecture"]) == ("unet_resnet34", "unet")  # by their means
    assert second["behind"] == pytest.approx(-0.02)
    check = bootstrap_check(study.logs())
    assert list(check["best"]) == [0.0, 1.0]
    contrast = row(architecture_contrasts(study.logs()))
    assert contrast["difference"] == pytest.approx(-0.02)  # the first minus the second, as in the table above


def test_selected_trial_is_shown_where_nothing_was_confirmed_with_all_its_settings():
    study = MadeUp("unet", "sam_conv", phase="phase2_tuning")
    study.arms["unet-24"]["ranges"] = {"lr": {}, "width": {"choices": [16, 32]}}
    study.trial("unet-24", 0, [0.4])
    study.trial("unet-24", 1, [0.6], lr=5e-3, width=32, weight_decay=1e-4)
    study.select("unet-24", 1, 0.58)
    first, second = iou_by_architecture(study.logs()).to_dict("records")
    assert (first["val_iou"], first["best_epoch"], first["models"]) == (0.58, 1, 0)
    nothing = pytest.approx(math.nan, nan_ok=True)
    for name, value in (("lr", 5e-3), ("width", 32), ("weight_decay", 1e-4)):  # searched over or not
        assert settings(study.logs())[name].to_list() == [value, nothing]
    assert math.isnan(first["test_iou"])
    assert second["models"] == 0
    assert all(pd.isna(second[key]) for key in ("val_iou", "test_iou", "best_epoch", "minutes"))


def test_iou_by_arm_sums_up_each_arm_that_has_a_scored_model():
    study = MadeUp(*THREE, phase="phase3_data_budget")
    for subset, seed, iou in ((0, 0, 0.1), (0, 1, 0.2), (1, 0, 0.3), (1, 1, 0.8)):
        study.model("unet-24", seed, subset=subset, test=[iou] * 4)
    study.model("unet_resnet34-24", 0, state="failed")
    frame = iou_by_arm(study.logs())
    assert list(frame["arm"]) == ["unet-24"]
    known = row(frame)
    assert [known[key] for key in ("num_models", "num_subsets", "num_seeds")] == [4, 2, 2]
    sd = math.sqrt((0.25**2 + 0.15**2 + 0.05**2 + 0.45**2) / 3)
    assert [known[key] for key in ("mean", "median", "iqm", "sd")] == pytest.approx([0.35, 0.25, 0.25, sd])
    points = iou_by_model(study.logs())
    assert list(points["value"]) == pytest.approx([0.1, 0.2, 0.3, 0.8])


def contrasted(*, test: bool = True) -> MadeUp:
    """02 is above 01 by 0.1, 0.1, 0.2, 0.2 on the four tiles, and 03 below 02 by as much."""
    study = MadeUp(*THREE)
    low, high = [0.3, 0.4, 0.5, 0.6], [0.4, 0.5, 0.7, 0.8]
    for arm, iou in zip(study.arms, (low, high, low), strict=True):
        study.models(arm, 2, **({"test": iou} if test else {"val": iou[1:3]}))
    return study


def test_contrasts_are_the_planned_ones_paired_over_tiles():
    frame = architecture_contrasts(contrasted().logs())
    assert list(frame["contrast"]) == ["unet_resnet34 − unet", "deeplabv3plus_resnet34 − unet_resnet34"]
    first = row(frame)
    assert first["difference"] == pytest.approx(0.15)
    ends = first["difference_low"], first["difference_high"]
    assert sum(ends) / 2 == pytest.approx(0.15)
    assert (first["p"] < 0.05) == (ends[0] > 0)
    assert first["effect"] == pytest.approx(0.15 / math.sqrt(4 * 0.05**2 / 3))
    assert first["better"] == 1.0
    assert first["p_flip"] == pytest.approx(2 / 2**4)
    assert first["p_places"] == pytest.approx(2 / 2**3)
    assert [first[key] for key in ("models", "scored_tiles", "places")] == [2, 4, 3]
    assert row(frame, 1)["difference"] == pytest.approx(-0.15)
    assert list(frame["p_holm"]) == pytest.approx(list(2 * frame["p"]))  # two contrasts of the same size
    assert list(frame["smallest_p"]) == pytest.approx([0.125, 0.125])
    first = row(architecture_contrasts(contrasted(test=False).logs()))  # on val while the test tiles are sealed
    assert first["difference"] == pytest.approx((0.1 + 0.2) / 2)
    assert (first["scored_tiles"], first["p_flip"]) == (2, pytest.approx(0.5))


def test_contrasts_need_both_architectures_with_scores_and_have_no_interval_of_single_models(tested: MadeUp):
    frame = architecture_contrasts(tested.logs())
    assert math.isnan(frame["difference_low"][0])
    assert frame["difference"][0] == pytest.approx(0.5 - 0.5)
    assert tables.shown(frame)["difference"][0] == "0.000 (n = 1)"
    assert architecture_contrasts(MadeUp(*THREE).logs()).empty
    study = MadeUp("unet", "deeplabv3plus_resnet34")
    for arm in study.arms:
        study.model(arm, test=FLAT)
    assert architecture_contrasts(study.logs()).empty
    study = MadeUp("unet", "unet_resnet34")
    study.model("unet-24", 0, test=FLAT)
    study.model("unet_resnet34-24", 1, test=FLAT)  # another seed: no pair
    assert architecture_contrasts(study.logs()).empty


def test_by_tiles_has_a_column_per_budget_and_says_where_a_cell_is_missing(tested: MadeUp):
    assert iou_by_tiles(tested.logs()).empty  # of one budget
    study = MadeUp("unet", "sam_conv", phase="phase3_data_budget", tiles=(5, 12))
    study.model("unet-5", 0, test=[0.2] * 4)
    study.model("unet-5", 1, test=[0.4] * 4)
    study.model("unet-12", 0, test=FLAT)
    study.model("sam_conv-12", 0, test=[0.6] * 4)
    frame = iou_by_tiles(study.logs())
    unet, sam = frame.to_dict("records")
    assert (unet["architecture"], unet["5"], unet["5_models"]) == ("unet", pytest.approx(0.3), 2)
    assert (unet["5_low"], unet["5_high"]) == (0, 1)  # two models say nothing of others: t is 12.7
    assert math.isnan(sam["5"])
    shown = tables.shown(frame).to_dict("records")
    assert list(shown[0]) == ["architecture", "5", "12"]
    assert (shown[1]["5"], shown[1]["12"]) == (tables.MISSING, "0.600 (n = 1)")


def test_spread_is_split_into_subsets_seeds_and_configurations(tested: MadeUp):
    study = MadeUp("unet", phase="phase2_tuning")
    for number, judged in enumerate((0.3, 0.5)):
        study.trial("unet-24", number, [judged])
    study.trial("unet-24", 2, [0.9], "stopped")
    for subset, seed, iou in ((0, 0, 0.4), (0, 1, 0.5), (1, 0, 0.6), (1, 1, 0.7)):
        study.model("unet-24", seed, subset=subset, test=[iou] * 4)
    known = row(spread(study.logs()))
    assert [known[key] for key in ("subsets", "seeds")] == [2, 2]
    names = ("sd_subset", "sd_seed", "sd_rest", "sd_hyperparameters")
    expected = [math.sqrt(0.02), math.sqrt(0.005), 0.0, math.sqrt(0.02)]
    assert [known[name] for name in names] == pytest.approx(expected, abs=1e-9)
    frame = spread(tested.logs())  # of one subset, and of one model
    assert math.isnan(frame["sd_seed"][1])
    assert frame["sd_seed"][0] == pytest.approx(math.sqrt(2 * 0.1**2))
    assert math.isnan(frame["sd_subset"][0])


def test_spread_tells_optimism_of_tuning_from_the_gap_between_the_same_models():
    study = MadeUp("unet", phase="phase2_tuning")
    study.trial("unet-24", 0, [0.7])
    study.select("unet-24", 0, 0.68)
    study.model("unet-24", 0, val=[0.6, 0.6], test=[0.4] * 4)
    study.model("unet-24", 1, val=[0.5, 0.5], test=[0.4] * 4)
    study.model("unet-24", 2, val=[0.1, 0.1])  # never tested
    known = row(spread(study.logs()))
    assert known["tuned_val_iou"] == 0.68
    assert known["optimism"] == pytest.approx(0.28)
    assert known["gap"] == pytest.approx((0.2 + 0.1) / 2)
    study = MadeUp("unet")
    assert spread(study.logs()).empty
    study.model("unet-24", test=FLAT)
    assert spread(study.logs())[["optimism", "gap"]].isna().all(axis=None)


def test_iou_by_architecture_begins_with_most_tiles_and_the_best():
    study = MadeUp("unet", "sam_conv", tiles=(5, 24))
    for place, arm in enumerate(study.arms):
        study.models(arm, 2, test=[0.2 + 0.1 * place] * 4)
    frame = iou_by_architecture(study.logs())
    assert list(zip(frame["architecture"], frame["tiles"], strict=True)) == [
        *(("sam_conv", 24), ("unet", 24), ("sam_conv", 5), ("unet", 5)),
    ]
    assert list(frame["behind"]) == pytest.approx([0, 0.1, 0, 0.1])
    assert list(frame["differs"][1::2]) == ["yes", "yes"]
    check = bootstrap_check(study.logs())
    assert list(check["architecture"]) == list(frame["architecture"])
    assert list(check["best"]) == [1, 0, 1, 0]
    assert list(check["rank"]) == [1, 2, 1, 2]
    assert list(check["mean_low"]) == pytest.approx(list(frame["test_iou"]))  # nothing varies
    assert list(frame["behind_low"][1:2]) == pytest.approx([0.1])
    assert math.isnan(frame["behind_low"][0])
    assert frame["minutes"][0] == 2.0
    assert row(settings(study.logs()))["trainable"] == 2.0
    assert row(settings(study.logs()))["frozen"] == 0.0


def test_comparable_scores_leave_out_what_has_a_single_model_or_no_scores_by_tile():
    study = MadeUp(*THREE, "sam_conv")
    study.models("unet-24", 2, test=FLAT)
    study.models("unet_resnet34-24", 2, test=FLAT)
    study.models("sam_conv-24", 2, test_iou=0.9)
    study.model("deeplabv3plus_resnet34-24", 0, test=FLAT)
    logs = study.logs()
    comparable = comparable_scores(logs, list(study.arms))
    assert comparable is not None
    assert comparable.arms == ("unet-24", "unet_resnet34-24")
    assert comparable_scores(logs, ["unet-24", "sam_conv-24"]) is None
    by_architecture = iou_by_architecture(logs)
    assert by_architecture["architecture"][0] == "sam_conv"
    assert by_architecture["behind_low"].isna().all()  # of the leader nothing is known by tile
    assert list(bootstrap_check(logs)["architecture"]) == ["unet", "unet_resnet34"]


def test_published_figures_stand_beside_the_architecture_that_they_are_of():
    study = MadeUp("unet", "sam_conv", published={"unet": {"val_iou": 0.735, "test_iou": 0.757, "minutes": 74}})
    study.model("unet-24", test=FLAT)
    frame = iou_by_architecture(study.logs()).set_index("architecture")
    assert frame.loc["unet", ["published_val_iou", "published_test_iou", "published_minutes"]].to_list() == [
        *(0.735, 0.757, 74),
    ]
    assert frame.loc["sam_conv", "published_test_iou":"published_minutes"].isna().all()
    assert not [name for name in iou_by_architecture(MadeUp("unet").logs()) if name.startswith("published")]
    study.arms["unet-24"]["is_stand_in"] = True
    assert iou_by_architecture(study.logs())["published_test_iou"].isna().all()
