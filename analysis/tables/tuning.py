"""Makes the table of what tuning bought: what each search selected beside the recipe that it started from."""

from typing import Any, Literal

import pandas as pd

from analysis.logs.frames import Logs
from analysis.logs.run_configs import ArmFacts
from analysis.stats.contrasts import Contrast, contrast
from analysis.stats.ranks import probability_of_improvement
from analysis.tables.contrasts import contrast_frame
from analysis.tables.settings import hyperparameters
from analysis.tables.tile_scores import final_split, read_tile_scores

Verdict = Literal["better", "worse", "no clear difference", "the recipe", "unknown"]
"""Whether tuning made an arm clearly better or worse, or selected the recipe; unknown without an interval."""


def tuned_minus_recipe(logs: Logs) -> pd.DataFrame:
    """Returns what tuning bought: one row per search beside which the recipe was trained, in the order of the arms.

    Returns:
        A frame as of `tables.contrasts.architecture_contrasts`, with `contrast` (the architecture's label), `what` (the
        hyperparameters that were changed), and `verdict` (see `Verdict`). Where the search selected the recipe, that
        was not trained twice, and there is no difference.
    """
    scores, arms = read_tile_scores(logs, final_split(logs)), {arm["arm"]: arm for arm in logs.study["arms"]}
    recipes = {arm["recipe_of"]: arm["arm"] for arm in arms.values() if "recipe_of" in arm}
    is_recipe = set(logs.selection.loc[logs.selection["is_recipe"].fillna(False).astype(bool), "arm"])
    rows: list[dict[str, Any]] = []
    found: list[Contrast] = []
    for arm, recipe in recipes.items() if scores is not None else ():
        assert scores is not None, "there is no row without scores"
        tuned, untuned = scores.parts_of(arm), scores.parts_of(recipe)
        if (result := contrast(tuned, untuned, scores.factors, scores.groups)) is not None:
            better = probability_of_improvement(scores.of(arm), scores.of(recipe))
            rows.append({**_about(arms[arm]), "what": _changed(logs, arm, recipe), "better": better})
            found.append(result)
    frame = contrast_frame(rows, found)
    frame.insert(list(frame).index("effect"), "verdict", [_verdict(result) for result in found])
    same = [{**_about(arms[arm]), "what": "nothing", "verdict": "the recipe"} for arm in arms if arm in is_recipe]
    if not same:
        return frame
    whole = pd.DataFrame([*frame.to_dict("records"), *same], columns=frame.columns)
    order = {(arm["architecture_label"], arm["tiles"]): place for place, arm in enumerate(arms.values())}
    places = [order[row["contrast"], row["tiles"]] for row in whole.to_dict("records")]
    counts = dict.fromkeys(("models", "scored_tiles", "places"), "Int64")
    return whole.iloc[pd.Series(places).argsort()].reset_index(drop=True).astype(counts)


def _about(arm: ArmFacts) -> dict[str, Any]:
    return {"contrast": arm["architecture_label"], "tiles": arm["tiles"]}


def _verdict(result: Contrast) -> Verdict:
    if result.interval is None:
        return "unknown"
    low, high = result.interval
    return "better" if low > 0 else "worse" if high < 0 else "no clear difference"


def _changed(logs: Logs, arm: str, recipe: str) -> str:
    """The hyperparameters that the search changed, such as `lr 0.001 → 0.0004`."""
    tuned, untuned = (logs.models[logs.models["arm"] == name].iloc[0] for name in (arm, recipe))
    columns = {name: f"hyperparameters/{name}" for name in hyperparameters(logs)}
    known = {name: column for name, column in columns.items() if column in logs.models}
    return ", ".join(
        f"{name} {_short(untuned[column])} → {_short(tuned[column])}"
        for name, column in known.items()
        if tuned[column] != untuned[column] and not (pd.isna(tuned[column]) and pd.isna(untuned[column]))
    )


def _short(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
