"""What stands below the titles of a report's tables and figures."""

from pathlib import PurePath

import pandas as pd

from analysis.logs.frames import Logs
from analysis.tables.classes import constant_iou

STANDING = (
    "Means over the final models, on whole tiles, with 95 % intervals over places (or tiles) and models. P(best) is "
    "the share of bootstrap replicates in which an architecture has the highest mean of those with as many tiles; "
    "ranks are over the same replicates. Behind the best is the paired difference to the first with as many tiles. "
    "Told apart are the two where that is above 0 by Student's t for as few seeds, subsets or places as there are, for "
    "which the interval alone is too narrow. A single model cannot be compared, so it has none of these."
)
INTERVALS = "Behind each IoU stands its 95 % interval, over places (or tiles) and models; n = 1 where one model is all."
PLANNED = (
    "The pairs that were planned, and no others: 01 is unet, 02 unet_resnet34, 03 deeplabv3plus_resnet34, 04 sam_conv "
    "and 05 sam_unet."
)
HYPOTHESES = "Of each architecture, the presets that were expected to win against all others, on the val tiles."
NO_FINALS = "No final models were scored: these are the best of several trials on val, so they are optimistic."
DOTS = "Faint dots are models, marks their means, bars the 95 % intervals."
CELLS = "IoU over the final models of each arm: mean with its interval, median, interquartile mean, and spread."
COST = (
    "The best score so far of each arm's search, in the order in which trials began, against trials, epochs and hours."
)
EXPECTED = (
    "The expected best of n trials drawn with replacement from those that were run (Dodge et al. 2019). It means "
    "something since this search drew points at random and stopped none early; failed trials count as 0."
)
TRIALS = "A dot per trial at its best judged score: filled where it ran its course, hollow where ASHA stopped it."
LEVELS = (
    "All else is at the recipe. Means over seeds, with 95 % intervals over places (or tiles) and seeds where an IoU is "
    "a mean over tiles."
)
OVERALL = (
    "All of it is from confusion matrices pooled over the split's tiles, one per final model, averaged over models. "
    "Macro is the mean over the classes that occur in truth or prediction, micro is over all pixels together; pixel "
    "accuracy is reported and never optimised. The last row is the predictor that says the train tiles' most frequent "
    "class everywhere: a model that is not above it has learnt nothing."
)
BY_CLASS = (
    "From confusion matrices pooled over tiles, averaged over the final models of the architectures with most tiles. A "
    "class that is in neither truth nor prediction has no score and is in no mean; one that is only predicted scores 0."
)
DISTRIBUTION = (
    "Shares of the pixels that count, from the masks; those of the test tiles are known once they were opened. Ignored "
    "pixels count nowhere."
)
VARIANCE = (
    "Standard deviations of IoU: between tile subsets (draws from this pool of tiles), between seeds, what neither "
    "explains; and, on the val pixels that trials are judged on, between the configurations that the search tried to "
    "their end (one seed each, so seeds are in it). What cannot be told is left out."
)
IMPORTANCE = (
    "PED-ANOVA's importance of each hyperparameter among trials that ran their course: how far it decided whether a "
    "trial came out on top. It needs 20 such trials, and sums to 1 even where all is noise. A best value at a bound "
    "says that the range may be too narrow."
)


def gap_words(frame: pd.DataFrame) -> str:
    """Returns what the columns of a table of gaps mean, as far as they are shown."""
    tuned = (
        "Tuned val IoU is that of the selected trial, the best of several; val IoU is that of the same configuration "
        "with new seeds, and optimism the difference. "
    )
    tested = (
        "The gap is val minus test IoU of the same models: these are other tiles, so part of it is how hard they are."
    )
    parts = [words for words, name in ((tuned, "optimism"), (tested, "gap")) if frame[name].notna().any()]
    return "".join(parts).strip() or "Mean val IoU of the final models; the test tiles are still sealed."


def title(logs: Logs) -> str:
    """Returns what stands above a figure of a study."""
    study = logs.study
    return f"{study['study']}, profile {study['profile']}, seed {study['seed']}"


def tiles_words(logs: Logs) -> str:
    """Returns how many tiles a study used, of what."""
    study = logs.study
    name = PurePath(study["spec"].get("data") or "demo-tiles").name
    num_val, num_test = len(study["val_tiles"]), len(study["test_tiles"])
    return f"{study['num_train_tiles']} train, {num_val} val and {num_test} test tiles of {name}"


def study_words(logs: Logs) -> str:
    """Returns which study a table is of, and what it started from."""
    study = logs.study
    weights = ", ".join(_weights_words(choice) for choice in study["spec"].get("weights", ()))
    return (
        f"Study {study['study']}, profile {study['profile']}, seed {study['seed']}, {len(study['val_tiles'])} val and "
        f"{len(study['test_tiles'])} test tiles, encoder weights: {weights or 'none'}."
    )


def trivial_words(logs: Logs) -> str:
    """Returns what the best constant of val would score, on val and, once they were opened, on the test tiles."""
    known = {split: constant_iou(logs, split) for split in ("val", "test")}
    told = " and ".join(f"{split} IoU {iou:.3f}" for split, iou in known.items() if iou is not None)
    return f"Calling every pixel {logs.study['trivial']['class']} would score {told}."


def _weights_words(choice: str) -> str:
    """A choice of weights without the folder of its file: `resnet34=a/b.pth` is "resnet34 b.pth"."""
    encoder, _, weights = choice.rpartition("=")
    return f"{encoder} {PurePath(weights).name}".strip()
