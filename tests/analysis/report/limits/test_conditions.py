"""Conditions under which scores came about: places, notes, number formats, devices, ways of scoring."""

from typing import Any

import pytest

from analysis.report.compose import compose
from analysis.report.limits.conditions import conditions, on_shared_places
from analysis.report.limits.several_studies import report_warnings
from analysis.report.limits.study_warnings import study_warnings
from analysis.report.page import markdown
from tests.analysis.made_up import GROUPS, TEST_TILES, VAL_TILES, MadeUp

TEST = [0.5, 0.6, 0.4, 0.7]


def study(*configs: dict[str, Any], name: str = "demo", **config: Any) -> MadeUp:
    """A study of an architecture per configuration of its trials, two final models each."""
    names = ("unet", "unet_resnet34", "sam_conv")[: len(configs)]
    made = MadeUp(*names, name=name, **config)
    for architecture, its in zip(names, configs, strict=True):
        for seed in (0, 1):
            made.model(f"{architecture}-24", seed, test=TEST, config=its)
    return made


def test_places_on_both_sides_of_a_split_are_named_up_to_four() -> None:
    groups = GROUPS | {"t1": "north", "t2": "west", "t3": "else", "v1": "north", "v2": "hill", "gone": "hill"}
    found = on_shared_places(study({}, groups=groups, train_tiles=["t1", "t2", "t3"]).logs())
    assert found == [
        "2 places have tiles in several splits, so these splits are not independent and scores on val and test may be "
        "too high: north (train, val, test), west (train, test)."
    ]
    groups = dict.fromkeys([*VAL_TILES, *TEST_TILES], "one")
    one_place = study({}, groups=groups, data_notes=["Odd."]).logs()  # as logs without train tiles have it
    (only,) = on_shared_places(one_place)
    assert only.startswith("One place has tiles in several splits, ")
    assert only.endswith(": one (val, test).")
    told = study_warnings(one_place)
    assert (told[0], told[-1]) == (only, "Odd.")
    assert on_shared_places(study({}, groups={tile: f"in {tile}" for tile in groups}).logs()) == []
    tiles = [f"t{number}" for number in range(6)]
    groups = {tile: f"p{number}" for number, tile in enumerate(tiles)} | {f"e{n}": f"p{n}" for n in range(6)}
    (said,) = on_shared_places(
        study({}, groups=groups, train_tiles=tiles, test_tiles=[f"e{n}" for n in range(6)]).logs()
    )
    assert said.endswith("p0 (train, test), p1 (train, test), p2 (train, test), p3 (train, test) and 2 more.")


@pytest.mark.usefixtures("undrawn")
def test_notes_on_the_data_come_before_the_results() -> None:
    notes = ["Pixels of -9999 are nodata and count nowhere.", "Opacity is left out."]
    logs = study({}, data_notes=notes).logs()
    assert conditions(logs) == notes
    text = markdown(compose([logs]).document)
    (box,) = [part for part in text.split("\n\n") if part.startswith("> **Before you rely on this**")]
    assert all(f"> - {note}\n" in f"{box}\n" for note in notes)


@pytest.mark.parametrize(
    ("key", "values", "words"),
    [
        ("dtype", ("fp32", "bf16", "bf16"), "in several number formats"),
        ("device_model", ("A100", "CPU", "CPU"), "on several kinds of devices"),
    ],
)
def test_arms_that_ran_differently_are_named(key: str, values: tuple[str, ...], words: str) -> None:
    assert conditions(study({}, {"dtype": "fp32"}, {"dtype": "fp32", "device_model": "A"}).logs()) == []
    made = study(*({key: value} for value in values))
    made.model("unet-24", 2, test=TEST, config={key: f"{values[0]} then {values[1]}"})
    made.model("unet-24", 3, test=TEST)  # an older log does not say
    (said,) = conditions(made.logs())
    others = f"{values[1]}: unet_resnet34-24, sam_conv-24"
    told = sorted([f"{values[0]}: unet-24 (2 of 4)", others, f"{values[0]} then {values[1]}: unet-24 (1 of 4)"])
    assert said.startswith(f"Trials ran {words}, which may explain small differences. ")
    assert sorted(said.split(". ", 1)[1].rstrip(".").split("; ")) == told


def test_studies_that_ran_differently_are_named() -> None:
    one, same, other = (
        study({"dtype": dtype, "device_model": "CPU"}, name=name).logs()
        for name, dtype in (("a", "fp32"), ("b", "fp32"), ("c", "bf16"))
    )
    old = study({}, name="old").logs()
    assert not [text for text in report_warnings([one, same, old]) if "ran" in text.split()]
    (said,) = [text for text in report_warnings([one, other, old]) if "ran" in text.split()]
    assert said.startswith("These studies ran in several number formats, ")
    assert said.endswith(": a: fp32; c: bf16.")


@pytest.mark.usefixtures("undrawn")
def test_models_scored_in_another_way_are_named_and_in_the_table() -> None:
    made = study({"dtype": "fp32", "device_model": "CPU"})
    made.model("unet-24", 2, test=TEST, scored="in windows of 1024 px")
    made.model("unet-24", 3, test=TEST, scored="")
    logs = made.logs()
    assert conditions(logs) == ["Final models that were scored in windows of 1024 px: unet-24 #2."]
    frame = compose([logs]).frames["models"]
    assert frame["scored"].tolist() == ["", "", "in windows of 1024 px", ""]
    assert frame["dtype"].tolist() == ["fp32", "fp32", "", ""]
    assert frame["device_model"].tolist() == ["CPU", "CPU", "", ""]
    assert compose([logs]).frames["trials"]["dtype"].tolist() == ["fp32", "fp32", "", ""]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([None, None], ""),
        (["fp32", "fp32"], "fp32"),
        ([None, "fp32"], "fp32"),
        (["fp32", "bf16"], "fp32 then bf16"),
        (["fp32", "fp32 then bf16"], "fp32 then bf16"),
    ],
)
def test_a_trial_of_several_runs_was_what_they_say_together(values: list[str | None], expected: str) -> None:
    made = study({})
    for value in values:
        made.trial("unet-24", 9, [0.5], config={} if value is None else {"dtype": value})
    logs = made.logs()
    (found,) = logs.runs.loc[logs.runs["number"] == 9, "dtype"]
    assert found == expected
