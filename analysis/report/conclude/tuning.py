"""Says what tuning bought: a sentence per search beside which the recipe was trained."""

from collections.abc import Mapping
from typing import Any

from analysis.logs.frames import Logs
from analysis.tables.formatting import signed
from analysis.tables.labels import budget_unit
from analysis.tables.tile_scores import final_split
from analysis.tables.tuning import tuned_minus_recipe


def what_tuning_bought(logs: Logs) -> list[str]:
    """Returns a sentence per search; a recipe that was better is recommended."""
    return [
        f"{row['contrast']} with {row['tiles']} {budget_unit(logs.study)}: {_words(row, f'{final_split(logs)} IoU')}."
        for row in tuned_minus_recipe(logs).to_dict("records")
    ]


def how_to_train(logs: Logs, label: str, tiles: int) -> str:
    """Returns a sentence on how to train an architecture, with a space before it; empty where that is not known."""
    rows = [
        row for row in tuned_minus_recipe(logs).to_dict("records") if (row["contrast"], row["tiles"]) == (label, tiles)
    ]
    return "".join(f" {_capital(_words(row, f'{final_split(logs)} IoU'))}." for row in rows)


def _words(row: Mapping[Any, Any], metric: str) -> str:
    if row["verdict"] == "the recipe":
        return "the search selected the recipe: train it by that"
    size, low, high = row["difference"], row["difference_low"], row["difference_high"]
    by = f"{signed(abs(size))}"
    match row["verdict"]:
        case "better":
            return f"tuning gained {by} ({signed(low)} … {signed(high)}) of {metric} over the recipe: train it as tuned"
        case "worse":
            return (
                f"tuning lost {by} ({signed(-high)} … {signed(-low)}) of {metric} to the recipe: train it by the recipe"
            )
        case "no clear difference":
            return (
                f"tuning made no clear difference of {metric} to the recipe, {signed(size)} ({signed(low)} … "
                f"{signed(high)}): {'either' if size > 0 else 'the recipe'} will do"
            )
    return f"tuning changed {metric} by {signed(size)}, and how sure that is cannot be said"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
