"""Computes scores by class and over all classes from pooled confusion matrices, beside those of a trivial predictor."""

from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.logs.frames import Logs
from analysis.stats.arrays import FloatArray
from analysis.stats.confusion import class_iou, mean_class_iou
from analysis.tables.tile_scores import final_split, read_tile_scores

Metric = Literal["iou", "f1"]
METRICS: dict[Metric, str] = {"iou": "IoU", "f1": "F1"}

MEAN = "mean over classes"
IGNORED = "ignored"


def class_shares(logs: Logs) -> pd.DataFrame:
    """Returns how often each class occurs.

    Returns:
        A frame with `class` and the shares of the pixels that count, in [0, 1], in `train`, `val` and, once they were
        opened, `test`; the last row is `ignored`, as a share of all pixels. Empty where the logs do not say.
    """
    names: list[str] = logs.study.get("classes", [])
    if not names:
        return pd.DataFrame()
    counts = {split: np.array(its, dtype=np.float64) for split, its in logs.study["class_pixels"].items()}
    ignored = dict(logs.study["ignored_pixels"])
    if (test := _truth(logs, "test")) is not None:
        counts["test"] = test
    frame = pd.DataFrame({"class": names} | {split: its / max(its.sum(), 1) for split, its in counts.items()})
    if any(ignored.values()):
        shares = {split: ignored[split] / (ignored[split] + counts[split].sum()) for split in ignored}
        frame = pd.concat([frame, pd.DataFrame([{"class": IGNORED, **shares}])], ignore_index=True)
    return frame


def scores_by_class(logs: Logs) -> pd.DataFrame:
    """Returns how often each class occurs, and its IoU and F1 for the arms with most tiles.

    Returns:
        First the IoU, then the F1 (`score`): a row per class and one of their mean (`class`), the columns of
        `class_shares`, a column per architecture (its label) and the trivial predictor's, pooled over tiles, mean over
        models, in [0, 1]; missing for a class in neither truth nor prediction, which no mean counts. Without final
        models or matrices, `class_shares` alone.
    """
    shares = class_shares(logs)
    arms, split = _arms(logs), final_split(logs)
    truth = _truth(logs, split)
    if truth is None or not arms:
        return shares
    names = logs.study["classes"]
    of_classes = shares.iloc[: len(names)].to_dict("list") | {"class": [*names, MEAN]}
    of_classes |= {name: [*values, np.nan] for name, values in of_classes.items() if name != "class"}
    models = {label: np.stack([its for _, its in _pooled(logs, arm, split)]) for arm, label in arms.items()}
    models[trivial_name(logs)] = trivial_confusion(logs, truth)[None]
    parts = [
        pd.DataFrame({"score": words, **of_classes} | {name: _column(its, metric) for name, its in models.items()})
        for metric, words in METRICS.items()
    ]
    return pd.concat([*parts, shares.iloc[len(names) :]], ignore_index=True)


def scores_over_classes(logs: Logs) -> pd.DataFrame:
    """Returns the scores over all classes per arm with final models, and the trivial predictor's beside them.

    Returns:
        A frame with `architecture`, `tiles`, `mean_iou` and `mean_f1` (macro: means over the classes that occur in
        truth or prediction), `micro_iou` and `accuracy` (of all pixels together; the latter is micro F1 too) with
        `mean_iou_low` and `mean_iou_high` (interval; missing where the main table's IoU is another), in
        [0, 1], `one_class` (of how many models all predictions are one class) and `models`.
    """
    split = final_split(logs)
    truth, scores = _truth(logs, split), read_tile_scores(logs, split)
    rows: list[dict[str, Any]] = []
    for about in logs.study["arms"]:
        models = [pooled for _, pooled in _pooled(logs, about["arm"], split)]
        if not models:
            continue
        row = {"architecture": about["architecture_label"], "tiles": about["tiles"], **_overall(np.stack(models))}
        found = scores.interval(about["arm"]) if scores is not None and scores.confusions is not None else None
        row |= dict(zip(("mean_iou_low", "mean_iou_high"), found or (np.nan, np.nan), strict=True))
        one_class = sum(np.count_nonzero(pooled.sum(axis=0)) == 1 for pooled in models)
        rows.append(row | {"one_class": one_class, "models": len(models)})
    if not rows or truth is None:
        return pd.DataFrame()
    rows.append({"architecture": trivial_name(logs), **_overall(trivial_confusion(logs, truth)[None])})
    columns = ["architecture", "tiles", "mean_iou", "mean_iou_low", "mean_iou_high", "mean_f1", "micro_iou", "accuracy"]
    frame = pd.DataFrame(rows, columns=[*columns, "one_class", "models"])
    return frame.astype({"tiles": "Int64", "one_class": "Int64", "models": "Int64"})


def of_one_class(logs: Logs) -> list[str]:
    """Returns the final models all of whose predictions are one class, each as "arm #number (class)"."""
    names, split = logs.study.get("classes", []), final_split(logs)
    found = []
    for about in logs.study["arms"]:
        for number, pooled in _pooled(logs, about["arm"], split):
            predicted = np.flatnonzero(pooled.sum(axis=0))
            if len(predicted) == 1:
                found.append(f"{about['arm']} #{number} ({names[predicted[0]]})")
    return found


def tints(logs: Logs) -> list[tuple[str, str]]:
    """Returns the classes that pictures tint, each with its colour as `#rrggbb`: of two, the foreground alone."""
    pairs = list(zip(logs.study.get("classes", ()), logs.study.get("class_colors", ()), strict=True))
    return pairs[1:] if len(pairs) == 2 else pairs


def trivial_name(logs: Logs) -> str:
    """Returns what the predictor is called that says the train tiles' most frequent class everywhere."""
    return f"everything is {logs.study['classes'][_most_frequent(logs)]}"


def trivial_confusion(logs: Logs, truth: FloatArray) -> FloatArray:
    """Returns the (K, K) confusion matrix of that predictor.

    Args:
        logs: Of the study.
        truth: (K,) pixels per class of the split.
    """
    matrix = np.zeros((truth.size, truth.size))
    matrix[:, _most_frequent(logs)] = truth
    return matrix


def constant_iou(logs: Logs, split: str) -> float | None:
    """Returns the IoU on a split of saying everywhere the class that does best so on val; None where nothing tells.

    It is computed as every IoU is: of two classes the foreground's, averaged over tiles, where a tile without
    foreground counts 1 if none is predicted, else 0, and one without a pixel that counts is left out; of more the mean
    over classes, pooled over tiles.
    """
    if split == "val":
        return float(logs.study["trivial"]["iou"])
    constant: str = logs.study["trivial"]["class"]
    classes: list[str] = logs.study.get("classes", [])
    matrices = next((found for (*_, its), found in logs.confusions.items() if its == split), None)
    if matrices is None or constant not in classes:
        return None
    counts, label = matrices.sum(axis=2).astype(np.float64), classes.index(constant)  # (T, K) truth
    counts = counts[counts.any(axis=1)]
    if not len(counts):
        return None
    if len(classes) == 2:
        foreground = counts[:, 1]
        if label == 0:
            return float((foreground == 0).mean())
        return float((foreground / counts.sum(axis=1)).mean())
    matrix = np.zeros((len(classes), len(classes)))
    matrix[:, label] = counts.sum(axis=0)
    return float(mean_class_iou(matrix[None])[0])


def _most_frequent(logs: Logs) -> int:
    return int(np.argmax(logs.study["class_pixels"]["train"]))


def _arms(logs: Logs) -> dict[str, str]:
    """The labels of the arms with most tiles that have matrices, by arm."""
    split = final_split(logs)
    known = [arm for arm in logs.study["arms"] if _pooled(logs, arm["arm"], split)]
    most = max((arm["tiles"] for arm in known), default=0)
    return {arm["arm"]: arm["architecture_label"] for arm in known if arm["tiles"] == most}


def _pooled(logs: Logs, arm: str, split: str) -> list[tuple[int, FloatArray]]:
    """The number and (K, K) matrix over all tiles of each of an arm's models."""
    return [
        (number, matrices.sum(axis=0).astype(np.float64))
        for (name, number, its), matrices in logs.confusions.items()
        if (name, its) == (arm, split)
    ]


def _truth(logs: Logs, split: str) -> FloatArray | None:
    """(K,) pixels per class of a split, which any model's matrices say; None where there is none."""
    matrices = next((found for (*_, its), found in logs.confusions.items() if its == split), None)
    return None if matrices is None else matrices.sum(axis=(0, 2)).astype(np.float64)


def _column(models: FloatArray, metric: Metric) -> FloatArray:
    """(M, K, K) to (K + 1,): per class and over classes, each the mean over models that have it."""
    iou = class_iou(models)
    values = iou if metric == "iou" else _f1(iou)
    with np.errstate(invalid="ignore"):
        sums, counts = np.nansum(values, axis=0), np.isfinite(values).sum(axis=0)
        per_class = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return np.array([*per_class, float(np.mean([np.nanmean(value) for value in values]))])


def _overall(models: FloatArray) -> dict[str, float]:
    """Means over (M, K, K) models; see `scores_over_classes`."""
    accuracy = np.trace(models, axis1=1, axis2=2) / models.sum(axis=(1, 2))
    f1 = np.array([np.nanmean(value) for value in _f1(class_iou(models))])
    return {
        "mean_iou": float(mean_class_iou(models).mean()),
        "mean_f1": float(f1.mean()),
        "micro_iou": float((accuracy / (2 - accuracy)).mean()),
        "accuracy": float(accuracy.mean()),
    }


def _f1(iou: FloatArray) -> FloatArray:
    """F1 is 2·IoU / (1 + IoU), per class."""
    return np.asarray(2 * iou / (1 + iou))
