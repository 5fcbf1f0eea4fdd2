"""What stands below the titles of a report's tables and figures."""

from pathlib import PurePath

import pandas as pd

from analysis.logs.frames import Logs
from analysis.logs.run_configs import NEVER_ADAPTED, competing
from analysis.tables.classes import constant_iou
from analysis.tables.labels import is_of_labels, split_words
from trainables.common.duration import duration

INTERVALS = (
    "Numbers in parentheses are 95 % intervals for new seeds, tile subsets and places (or tiles) like these, by a "
    "crossed random-effects analysis; n = 1 means a single model, which has no interval."
)
LEADER = (
    "The leader has the highest mean among architectures with the same number of tiles. The difference to it is "
    "paired; one without an interval is the plain difference of the means, and shows nothing."
)
COMPARED = (
    "All others clearly differ from the leader where the interval of each difference leaves out 0: the leader is then "
    "the clear winner. Otherwise those do, but for the nearest one, that lie below it by a one-sided test with Holm's "
    "correction for their number, so this may say no where an interval leaves out 0, and yes where it does not; the "
    "best architecture is among them in less than 5 % of studies."
)
ELSEWHERE = (
    "The lead is that of the architecture that leads in the main table over the best other one on each test set: "
    "paired on models and tiles by the same analysis, and below 0 where the other one leads there. It is clear where "
    "the leader clearly differs, by the rule of the main table, from all others where it leads, and from the new "
    "leader where it does not. Kendall's tau compares the order on a set with that of the first row: 1 is the same, "
    "−1 the opposite."
)
PUBLISHED = (
    "Published figures are those of the reference study: Inria's Austin, 24 tiles, one T4 GPU; they stand beside full "
    "architectures with 24 tiles. Compare them only with results on the same tiles."
)
SETTINGS = (
    "The hyperparameters of the final models (of the selected trial where there are none), and parameters in millions."
)
ARCHITECTURE_CONTRASTS = (
    "Only architectures that differ in one thing are compared: in how their encoder is adapted, in the decoder (with "
    "the first one of the study), or in the encoder (with the first one)."
)
PRESET_CONTRASTS = (
    "For each architecture, the augmentation presets that the reference study expected to win are compared with all "
    "others, on the val tiles."
)
CONTRASTS = (
    "Differences are paired on tiles and seeds; of several classes they are of the IoU of all tiles together, as in "
    "the main table. p (Holm) is of the same analysis as the interval, corrected for all rows. P-values of sign flips "
    "are of a permutation test over tiles, uncorrected: it assumes less, but speaks of these models alone, not of "
    "newly trained ones. P(better) is how often a model of the first architecture beats one of the second on the same "
    "tile."
)
RECIPES = "What was tuned competes; the recipe that its search started from stands below it, and competes with nothing."
AVERAGED = (
    "Ensemble is the test IoU of the mean of the probabilities of all models of an architecture (and tile subset), TTA "
    "that of the mean over the eight symmetries of a tile, averaged over models; both are of the same opening. An "
    "ensemble has no interval, since it is one for all seeds: nothing tells what other seeds would make of it."
)
TUNING = (
    "The final models of what each search selected minus those of the recipe that it started from, with the same seeds "
    "and draws, paired on seeds and tiles by the same analysis as all intervals. Tuning paid where the interval lies "
    "above 0. On small data about one search in ten selects something worse than it started from (arXiv:2506.19540)."
)
NO_FINALS = (
    "No final model was scored: these scores are the best of several trials on the tiles that judged them, so they are "
    "optimistic."
)
BOOTSTRAP = (
    "The same means with intervals by another method: percentiles of bootstrap replicates that draw seeds, tile "
    "subsets and places (or tiles) independently, of the models that all architectures have. P(best) is the share of "
    "replicates in which an architecture has the highest mean. With few seeds or places these intervals are too "
    "narrow, by up to a third with three, and P(best) is too sure: they are a check, and decide nothing."
)
DOTS = "Small dots are models, large marks their means, and bars the 95 % intervals."
BEST_SO_FAR = (
    "The best score so far of each arm's search against trials, epochs and hours spent, in the order of trials."
)
EXPECTED = (
    "The expected best score of n trials drawn with replacement from those that ran (Dodge et al. 2019). It is shown "
    "since this search sampled at random and stopped no trial early. Failed trials count as 0."
)
TRIALS = "A dot is a trial at its best judged score: filled where it finished, hollow where ASHA stopped it."
FIXED_VALUES = (
    "All other hyperparameters keep the recipe's values. Means are over seeds, with 95 % intervals over seeds and "
    "places (or tiles) where IoU is a mean over tiles."
)
OVER_CLASSES = (
    "Computed from the confusion matrix of each final model, pooled over the tiles of the split, then averaged over "
    "models. Macro scores are means over the classes that occur in truth or prediction; micro scores are over all "
    "pixels. The last row is the trivial predictor, which predicts the most frequent class of the train tiles "
    "everywhere: a model that does not beat it has learnt nothing."
)
BY_CLASS = (
    "Scores are pooled over tiles and averaged over the final models of the architectures with most tiles. A class "
    "in neither truth nor prediction has no score and is in no mean; one that is only predicted scores 0. Shares are "
    "of the labelled pixels of each split (of all pixels for ignored ones), from the masks; those of test are known "
    "once the test tiles were opened."
)
IMPORTANCE = (
    "PED-ANOVA importance of each hyperparameter among finished trials: how much it decides whether a trial is among "
    "the best. It needs 20 finished trials, and sums to 1 even where all differences are noise. A selected value at "
    "an end of its range suggests that the range is too narrow."
)
PARALLEL = (
    "A line per trial, from its hyperparameters to the score that it was judged by; grey lines were stopped early by "
    "ASHA."
)


def spread_words(logs: Logs) -> str:
    """Returns the caption of the table of how far scores spread."""
    optimism = (
        "Optimism of tuning is the val IoU of the selected trial, the best of several, minus that of its final models. "
        "Val minus test is of the same models; part of it is how hard the tiles are."
    )
    if is_of_labels(logs.study):
        optimism = "Optimism of tuning is the IoU over folds of the selected trial minus the nested IoU over folds."
    return (
        "Median, interquartile mean and standard deviation are over the final models. Standard deviations are also "
        "split: between tile subsets (drawn from this pool of tiles), between seeds, and the rest; and between the "
        "configurations of the finished trials of the search, on the pixels they were judged on (each with its own "
        f"seed). {optimism} Columns without a value are left out."
    )


def _folds_words(judged_metric: str) -> str:
    center = judged_metric.rpartition("_center")[2] if "_center" in judged_metric else ""
    part = f"in the {center} px at its centre" if center else "as a whole tile"
    others = ", that test tiles are scored whole" if center else ""
    return (
        f"IoU over folds is of the selected trial: each label was predicted, {part}, by a network that learnt from the "
        "other folds. It is the best of all trials and epochs on these labels, so it is optimistic. Nested IoU over "
        "folds scores each fold by what the other folds would have selected: as much as it is lower, the choice alone "
        "promised too much (it needs two finished trials and three folds; not known of fixed values and of more than "
        "two classes). "
        f"Folds minus test holds that, too, and how hard the tiles are{others} and that final models learn from all "
        "labels."
    )


def cost_words(frame: pd.DataFrame, unit: str) -> str:
    """Returns what the columns of the table of costs mean; `unit` is what hours are counted in."""
    parts = [f"Hours are {unit} (wall clock × {'GPU share' if 'GPU' in unit else 'cores'})."]
    if frame["lost_hours"].any():
        parts.append("Lost epochs were trained again, after lost workers or interruptions.")
    if frame["saved_epochs"].any():
        parts.append(
            "Saved epochs are those that trials stopped by ASHA had left; some would have ended earlier by themselves."
        )
    return " ".join(parts)


def forecast_words(logs: Logs) -> str:
    """Returns how good the study's first forecast of its own time was; empty where the logs do not say."""
    if (row := logs.forecast) is None:
        return ""
    return (
        f"When the first trial had ended, {duration(row['after_seconds'])} after the tiles were loaded, "
        f"{duration(row['left_seconds'])} were forecast until the last model would be scored; it took "
        f"{duration(row['took_seconds'])}."
    )


def contrast_words(logs: Logs) -> str:
    """Returns what the contrasts of architectures compare, and which of these are not what their names suggest."""
    parts = [ARCHITECTURE_CONTRASTS, CONTRASTS]
    small = dict.fromkeys(arm["architecture_label"] for arm in competing(logs.study["arms"]) if arm["is_stand_in"])
    if small:
        parts.append(f"Small or random-encoder variants here: {', '.join(small)}.")
    return " ".join(parts)


def title(logs: Logs) -> str:
    """Returns what stands above a figure of a study."""
    study = logs.study
    return f"{study['study']}, profile {study['profile']}, seed {study['seed']}"


def tiles_words(logs: Logs) -> str:
    """Returns how many tiles a study used, of what."""
    study = logs.study
    name = PurePath(study["spec"].get("data") or "demo-tiles").name
    return f"{split_words(study)} of {name}"


def study_words(logs: Logs) -> str:
    """Returns which study a table is of, and which weights it started from."""
    study = logs.study
    weights = ", ".join(_weights_words(choice) for choice in study["spec"].get("weights", ()))
    tiles = split_words(study, with_train=is_of_labels(study))
    weights = f"encoder weights: {weights or 'none'}{_adapted_words(logs)}"
    return f"Study {study['study']}, profile {study['profile']}, seed {study['seed']}, {tiles}, {weights}."


def _adapted_words(logs: Logs) -> str:
    """To what bands pretrained weights were adapted; empty where they see 8-bit RGB as before."""
    bands = logs.study.get("adapted_bands")
    if not bands or all(arm["weights"] in NEVER_ADAPTED for arm in logs.study["arms"]):
        return ""
    return f" (of 8-bit RGB pictures, adapted to the bands {', '.join(bands)})"


def main_words(logs: Logs, main: pd.DataFrame) -> str:
    """Returns the caption of the table of IoU by architecture, `main`."""
    parts = [study_words(logs), "Scores are means over the final models, on whole tiles.", INTERVALS, LEADER]
    if not is_of_labels(logs.study):
        parts.append("Val scores are optimistic, since val chose the epoch of each model.")
    elif main["folds_iou"].notna().any():
        parts.append(_folds_words(logs.study["judged_metric"]))
    parts += [COMPARED] if main["differs"].notna().any() else []
    parts += [RECIPES] if any("recipe_of" in arm for arm in logs.study["arms"]) else []
    parts += [AVERAGED] if logs.models[["ensemble_iou", "tta_iou"]].notna().any(axis=None) else []
    parts += [NO_FINALS] if logs.models.empty else []
    parts += [PUBLISHED] if logs.study.get("published") else []
    return " ".join([*parts, _trivial_words(logs)])


def by_tiles_words(logs: Logs, split: str) -> str:
    """Returns the caption of the table of IoU by number of tiles."""
    return f"{study_words(logs)} Mean {split} IoU over the final models. {INTERVALS}"


def _trivial_words(logs: Logs) -> str:
    """What the best constant of val would score, on val and, once they were opened, on the test tiles."""
    known = {split: constant_iou(logs, split) for split in ("val", "test")}
    names = {"val": "val IoU" if not is_of_labels(logs.study) else "IoU", "test": "test IoU"}
    scores = " and ".join(f"{names[split]} {iou:.3f}" for split, iou in known.items() if iou is not None)
    scores = scores.replace(" and ", " on the labels and ") if is_of_labels(logs.study) else scores
    return f"Predicting {logs.study['trivial']['class']} everywhere scores {scores}."


def _weights_words(choice: str) -> str:
    """A choice of weights without the folder of its file: `resnet34=a/b.pth` is "resnet34 b.pth"."""
    encoder, _, weights = choice.rpartition("=")
    return f"{encoder} {PurePath(weights).name}".strip()
