"""Makes the table of what each arm's models were trained with."""

from typing import Any

import pandas as pd

from analysis.logs.frames import Logs
from analysis.logs.run_configs import NEVER_ADAPTED, ArmFacts

HYPERPARAMETERS = ("lr", "augmentation", "decoder_dropout", "loss", "bce_weight")
"""Shown even where no arm searches over them."""
_OF_ENCODER = ("weights", "adaptation")
_PREFIX = "hyperparameters/"


def settings(logs: Logs) -> pd.DataFrame:
    """Returns the hyperparameters of each arm's final models, else of its selected trial.

    Returns:
        A frame in the order of the study's arms with `architecture`, `tiles`, `weights` (what its encoder starts from,
        and the bands that they were adapted to), `adaptation` (of the encoder), a column per hyperparameter, and
        `trainable` and `frozen` (parameters, millions). What is not known is missing.
    """
    rows = [
        {"architecture": arm["architecture_label"], "tiles": arm["tiles"]}
        | {"weights": _weights(logs, arm), "adaptation": arm.get("adaptation")}
        | _of_arm(logs, arm["arm"])
        | {"trainable": arm["num_trainable"] / 1e6, "frozen": arm["num_frozen"] / 1e6}
        for arm in logs.study["arms"]
    ]
    return pd.DataFrame(
        rows, columns=["architecture", "tiles", *_OF_ENCODER, *hyperparameters(logs), "trainable", "frozen"]
    )


def _weights(logs: Logs, arm: ArmFacts) -> str:
    bands = logs.study.get("adapted_bands")
    if not bands or arm["weights"] in NEVER_ADAPTED:
        return arm["weights"]
    return f"{arm['weights']} (adapted to {', '.join(bands)})"


def hyperparameters(logs: Logs) -> list[str]:
    """Returns the names of the hyperparameters that the table shows."""
    columns = [str(name) for name in logs.runs.columns]
    logged = [name for name in columns if name.startswith(_PREFIX) and logs.runs[name].notna().any()]
    others = {name for arm in logs.study["arms"] for name in arm["ranges"]}
    others |= {name.removeprefix(_PREFIX) for name in logged}
    return [*HYPERPARAMETERS, *sorted(others - set(HYPERPARAMETERS))]


def _of_arm(logs: Logs, arm: str) -> dict[str, Any]:
    selected = set(logs.selection.loc[logs.selection["arm"] == arm, "number"])
    is_selected = (logs.runs["stage"] == "search") & logs.runs["number"].isin(selected)
    models = logs.models[logs.models["arm"] == arm]
    source = logs.runs[(logs.runs["arm"] == arm) & is_selected] if models.empty else models
    names = [name for name in hyperparameters(logs) if f"{_PREFIX}{name}" in source]
    return {} if source.empty else {name: source[f"{_PREFIX}{name}"].iloc[0] for name in names}
