"""Checks what a study spent and what its search found against values worked out by hand."""

import math

import numpy as np
import pytest

from analysis.tables import formatting as tables
from analysis.tables import search_results
from analysis.tables.contrasts import preset_contrasts
from tests.analysis.made_up import MadeUp

PRESETS = ("NONE", "LIGHT", "MEDIUM", "HEAVY", "EXTREME")


def searched(**config) -> MadeUp:
    """A search of four trials, whose course is ten epochs of a minute, and two final models."""
    study = MadeUp("unet", "sam_conv", phase="phase2_tuning", **config)
    study.trial("unet-24", 0, [0.3] * 10)
    study.trial("unet-24", 1, [0.2] * 3, "stopped")
    study.trial("unet-24", 2, [0.1], "stopped", cost={"lost_epochs": 2, "lost_seconds": 90.0})
    study.trial("unet-24", 3, [], "out of memory")
    study.trial("sam_conv-24", 0, [0.1, 0.2], "diverged")
    study.trial("sam_conv-24", 1, [0.1], "interrupted")
    study.trial("sam_conv-24", 2, [], "failed")
    study.model("unet-24", 0, test=[0.5] * 4, epochs=10)
    study.model("unet-24", 1, state="failed", epochs=6)
    return study


def test_cost_counts_trials_epochs_hours_and_what_asha_saved():
    unet, sam = search_results.cost(searched().logs()).to_dict("records")
    expected = {"allowance": 4, "started": 4, "finished": 1, "stopped": 2, "failed": 0, "out_of_memory": 1, "models": 1}
    assert {key: unet[key] for key in expected} == expected
    assert unet["epochs"] == 10 + 3 + 1 + 10 + 6
    assert unet["hours"] == pytest.approx(30 * 60 * 2 / 3600)  # two cores
    assert (unet["lost_epochs"], unet["lost_hours"]) == (2, pytest.approx(90 * 2 / 3600))
    assert unet["saved_epochs"] == (10 - 3) + (10 - 1)
    expected = {"started": 3, "finished": 0, "stopped": 0, "failed": 3, "out_of_memory": 0, "models": 0}
    assert {key: sam[key] for key in expected} == expected
    assert search_results.hours_word(searched().logs()) == "core-hours"
    on_gpu = searched(slots={"count": 2, "cpus": 4, "gpus": 0.5}).logs()  # and of its share
    assert search_results.hours_word(on_gpu) == "GPU-hours"
    assert search_results.cost(on_gpu)["hours"][0] == pytest.approx(30 * 60 * 0.5 / 3600)


def test_cost_is_zero_at_first_has_no_allowance_without_a_search_and_counts_models_as_trials():
    study = MadeUp("unet")
    known = search_results.cost(study.logs()).to_dict("records")[0]
    assert [known[key] for key in ("started", "epochs", "hours", "lost_hours", "saved_epochs")] == [0] * 5
    study.model("unet-24", 0, test=[0.5] * 4)
    study.model("unet-24", 1, state="diverged")
    known = search_results.cost(study.logs()).to_dict("records")[0]
    assert [known[key] for key in ("started", "finished", "failed", "models")] == [2, 1, 1, 1]
    assert search_results.cost(study.logs())["allowance"].isna().all()


def test_importances_are_missing_with_few_trials_but_bounds_are_told():
    study = MadeUp("unet", "sam_conv", phase="phase2_tuning")
    study.trial("unet-24", 0, [0.3], lr=1e-3)
    study.trial("unet-24", 1, [0.4], lr=1e-2)
    study.trial("unet-24", 2, [0.9], "stopped", lr=1e-4)
    study.select("unet-24", 1, 0.4)
    frame = search_results.importances(study.logs())
    assert set(frame["architecture"]) == {"unet"}
    assert list(frame["trials"]) == [2] * 4
    assert frame["importance"].isna().all()
    assert frame["hyperparameter"].tolist() == ["lr", "augmentation", "decoder_dropout", "bce_weight"]
    assert frame["at_bound"].tolist() == [True, False, False, False]
    assert list(frame["best_value"]) == [1e-2, "MEDIUM", 0.3, 0.5]
    assert [row[5] for row in tables.cells(frame)] == ["0.01", "MEDIUM", "0.3", "0.5"]


def test_importances_find_the_one_hyperparameter_that_decides_where_there_is_a_search():
    assert search_results.importances(MadeUp("unet").logs()).empty
    assert search_results.importances(varied().logs()).empty  # of fixed values
    study = MadeUp("unet", phase="phase2_tuning")
    rng = np.random.default_rng(0)
    for number in range(40):
        share, noise = rng.random(2)
        study.trial("unet-24", number, [share], lr=1e-4 * 100**share, decoder_dropout=0.5 * noise)
    found = search_results.importances(study.logs()).set_index("hyperparameter")["importance"]
    assert found["lr"] > 0.5  # all of it, but for what 40 draws of the other hold by chance
    assert found.sum() == pytest.approx(1)


def test_expected_best_is_told_of_random_search_without_early_stopping_only():
    random = {"sampler": "random", "grace_epochs": 10}
    study = MadeUp("unet", phase="phase2_tuning", spec=random)
    study.trial("unet-24", 0, [0.4])
    study.trial("unet-24", 1, [], "failed")
    frame = search_results.expected(study.logs())
    assert list(frame["trials"]) == [1, 2]
    assert list(frame["value"]) == pytest.approx([0.2, 0.3])  # of 0 and 0.4; then the best of both in 3 of 4 pairs
    for other in ({"sampler": "tpe"}, {"grace_epochs": 2}, {"vary": "lr"}):
        study.config["spec"] = study.config["spec"] | random | {"vary": None} | other
        assert search_results.expected(study.logs()).empty


def varied(failed: tuple[int, ...] = (), architectures: tuple[str, ...] = ("unet",), seeds: int = 2) -> MadeUp:
    """Each preset with each seed: on the two val tiles MEDIUM and HEAVY have 0.5 and 0.6, the others 0.3 and 0.5."""
    spec = {"vary": "augmentation", "seeds": seeds}
    study = MadeUp(*architectures, phase="phase2_tuning", spec=spec)
    for arm in study.arms:
        for number in range(len(PRESETS) * seeds):
            level = PRESETS[number % len(PRESETS)]
            by_tile = [0.5, 0.6] if level in ("MEDIUM", "HEAVY") else [0.3, 0.5]
            by_tile = [iou + 0.01 * (number // len(PRESETS)) for iou in by_tile]
            state = "failed" if number in failed else "finished"
            study.trial(arm, number, [0.1, 0.4], state, by_tile=by_tile, augmentation=level)
    return study


def test_levels_have_the_mean_of_each_value_over_seeds_and_tiles():
    frame = search_results.fixed_values(varied().logs())
    assert list(frame["value"]) == list(PRESETS)
    assert list(frame["mean"]) == pytest.approx([0.405, 0.405, 0.555, 0.555, 0.405])
    assert set(frame["models"]) == {2}
    first = frame.to_dict("records")[0]
    assert (first["low"], first["high"]) == (0, 1)  # two seeds and two tiles say nothing of others


def test_levels_leave_out_a_value_without_scores_and_keep_the_seeds_apart():
    frame = search_results.fixed_values(varied(failed=(0, 5, 6)).logs())
    assert list(frame["value"]) == ["LIGHT", "MEDIUM", "HEAVY", "EXTREME"]
    assert list(frame["models"]) == [1, 2, 2, 2]
    assert list(frame["low"].isna()) == [True, False, False, False]
    assert frame["mean"][0] == pytest.approx(0.4)
    assert search_results.fixed_values(searched().logs()).empty  # of another study, or without scores by tile
    study = MadeUp("unet", phase="phase2_tuning", spec={"vary": "augmentation"})
    study.trial("unet-24", 0, [0.4])
    assert search_results.fixed_values(study.logs()).empty


def test_preset_contrasts_ask_what_was_expected_of_each_track_over_the_seeds_that_all_presets_have():
    frame = preset_contrasts(varied(architectures=("unet", "sam_conv")).logs())
    assert list(frame["contrast"]) == ["unet", "sam_conv"]
    cnn, frozen = frame.to_dict("records")
    assert cnn["what"] == "MEDIUM and HEAVY against the others"
    assert cnn["difference"] == pytest.approx(0.15)  # 0.2 on one tile, 0.1 on the other
    assert cnn["p_flip"] == pytest.approx(2 / 2**2)
    assert cnn["p_holm"] == pytest.approx(2 * cnn["p"])
    assert frozen["what"] == "LIGHT and MEDIUM against the others"
    assert frozen["difference"] == pytest.approx(0.025)  # (0.3 + 0.5) / 2 and (0.5 + 0.3 + 0.3) / 3, and so on
    assert cnn["better"] == 1.0
    known = preset_contrasts(varied(failed=(6, 10), seeds=3).logs()).to_dict("records")[0]
    assert known["models"] == 1  # LIGHT lacks the second seed, NONE the third
    assert known["difference"] == pytest.approx(0.15)
    assert math.isnan(known["difference_low"])
    for made in (varied(failed=(1, 5)), varied(failed=(2, 7)), searched()):  # without all presets
        assert preset_contrasts(made.logs()).empty
