"""What a study would run, how much of it and where; nothing of it is run."""

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from studies import folder
from studies.backend.machine import this_machine
from studies.backend.slots import Slots, plan
from studies.preparation import Prepared, prepare
from studies.seal.seal import Seal
from studies.search.plans import Finals, first_plan
from studies.spec import StudySpec


def show_plan(spec: StudySpec, out: Path, console: Console) -> None:
    """Checks all that a start checks, and prints the arms, their trials and epochs, and the machines.

    Raises:
        UserError: The spec, the tiles or the folder do not allow it.
    """
    folder.check_free(out.resolve())
    prepared = prepare(spec, console, is_dry_run=True)
    spec = prepared.spec
    if spec.seeds and spec.test:
        Seal(prepared.dataset, out=out.resolve(), study=out.name, study_id="").check()
    slots = _slots(prepared)
    begins = first_plan(spec, prepared.digests, len(prepared.tiles.train))
    finals = begins if isinstance(begins, Finals) else None
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("arm", min_width=max(len(arm.name) for arm in begins.arms))
    for column in ("search", "final", "epochs"):
        table.add_column(column, justify="right")
    total = 0
    for arm in begins.arms:
        num_searched = 0 if finals else begins.allowance(arm)
        num_final = finals.allowance(arm) if finals else spec.seeds
        epochs = (num_searched + num_final) * spec.recipe.epochs
        total += epochs
        table.add_row(arm.title(spec), str(num_searched), str(num_final), str(epochs))
    console.print(table)
    num_val, num_test = len(prepared.tiles.val), len(prepared.dataset.test.tiles)
    is_tested = bool(spec.seeds and spec.test)
    for line in (
        f"{total} epochs at most, each of {spec.recipe.draws_per_epoch} draws; {slots}",
        f"tiles: {prepared.dataset.root} ({len(prepared.tiles.train)} train, {num_val} val, {num_test} test, "
        f"{'opened once for each arm' if is_tested else 'which stay sealed'})",
        f"encoder weights: {', '.join(spec.weights)}; judged by {spec.judged_metric}; seed {spec.seed}",
        f"on {spec.address or 'this machine'}; would write {out}; W&B {spec.wandb}",
    ):
        console.print(line, highlight=False, soft_wrap=True)


def _slots(prepared: Prepared) -> Slots:
    """The slots of this machine, or of the cluster that the spec names, which Ray has to ask."""
    spec = prepared.spec
    if spec.address is None:
        return plan(spec, [this_machine()], prepared.train_px, prepared.scored_px)
    from studies.backend import cluster  # here: Ray takes seconds to import and to connect

    with cluster.ray_session(spec.address):
        return cluster.plan_slots(spec, prepared.train_px, prepared.scored_px)
