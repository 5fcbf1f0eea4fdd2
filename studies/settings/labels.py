"""What a study says of budgets of labels, refused where it could not be done."""

from studies.spec import StudySpec
from trainables.common.errors import UserError
from trainables.data.tiles import TrainVal
from trainables.folds.split import num_networks


def networks_by_budget(spec: StudySpec, tiles: TrainVal) -> dict[int, int]:
    """How many networks a trial of a search trains, by budget; empty where trials are not cross-validated.

    Args:
        spec: The study.
        tiles: All of its tiles, whose places may allow fewer folds than are wanted.
    """
    if spec.labels is None or not spec.has_search:
        return {}
    seed, groups = spec.recipe.subset_seed, tiles.info.groups
    budgets = {budget: tiles.budget(budget, seed).train.ids for budget in spec.labels}
    return {budget: num_networks(ids, groups, spec.wanted_folds(budget), seed) for budget, ids in budgets.items()}


def check_labels(spec: StudySpec) -> None:
    """Refuses what says nothing, or the same twice, beside budgets of labels or without them.

    Raises:
        UserError: It is so.
    """
    if spec.folds is not None:
        if not spec.has_search:
            raise UserError(f"folds is {spec.folds}, but folds judge a search, and {spec.phase} has none: leave it out")
        if spec.labels is None:
            raise UserError(f"--folds is {spec.folds}, but only budgets of --labels are cut into folds: add --labels")
    if spec.labels is None:
        return
    if spec.tiles is not None:
        raise UserError(
            f"--labels is {' '.join(map(str, spec.labels))} and --tiles {' '.join(map(str, spec.tiles))}, but both are "
            "the data budgets: leave one out"
        )
    if untold := [name for name, chosen in spec.chosen.items() if chosen.epochs is None]:
        raise UserError(
            f"--labels needs the number of epochs that folds chose, but {spec.chosen[untold[0]].study} tuned "
            f"{untold[0]} with val tiles: tune it with --labels, or use --tiles"
        )
    if spec.max_seeds is not None:
        raise UserError(
            f"--max-seeds is {spec.max_seeds}, but more seeds are for arms that val does not tell apart, and with "
            "--labels final models have no val: give --seeds a number, and leave --max-seeds out"
        )


def check_enough_labels(spec: StudySpec, num_train: int, num_val: int) -> None:
    """Refuses budgets of more labels than there are.

    Raises:
        UserError: A budget is.
    """
    count = num_train + num_val
    if more := [budget for budget in spec.labels or () if budget > count]:
        raise UserError(
            f"--labels {more[0]} asks for {more[0]} labelled tiles, but there are {count} ({num_train} train and "
            f"{num_val} val): ask for 1 to {count}"
        )
