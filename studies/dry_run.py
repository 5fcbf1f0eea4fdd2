"""What a study would run, how much of it and where; nothing of it is run."""

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from studies.backend.machine import this_machine
from studies.backend.slots import Slots, fit_slots
from studies.files import folder
from studies.inputs import StudyInputs, load_inputs
from studies.seal.seal import Seal
from studies.search.plans import Finals, first_plan
from studies.spec import StudySpec


def show_plan(spec: StudySpec, out: Path, console: Console) -> None:
    """Checks all that a start checks, and prints the arms, their trials and epochs, and the machines.

    Raises:
        UserError: The spec, the tiles or the folder do not allow it.
    """
    folder.check_free(out.resolve())
    inputs = load_inputs(spec, console, is_dry_run=True)
    spec = inputs.spec
    if spec.seeds and spec.test:
        Seal(inputs.dataset, out=out.resolve(), study=out.name, study_id="").check()
    slots = _slots(inputs)
    plan = first_plan(spec, inputs.digests, len(inputs.tiles.train))
    finals = plan if isinstance(plan, Finals) else None
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("arm", min_width=max(len(arm.name) for arm in plan.arms))
    for column in ("search", "final", "epochs"):
        table.add_column(column, justify="right")
    total = 0
    for arm in plan.arms:
        num_searched = 0 if finals else plan.allowance(arm)
        num_final = finals.allowance(arm) if finals else spec.seeds
        epochs = (num_searched + num_final) * spec.recipe.epochs
        total += epochs
        table.add_row(arm.title(spec), str(num_searched), str(num_final), str(epochs))
    console.print(table)
    num_val, num_test = len(inputs.tiles.val), len(inputs.dataset.test.tiles)
    is_tested = bool(spec.seeds and spec.test)
    for line in (
        f"{total} epochs at most, each of {spec.recipe.draws_per_epoch} draws; {slots}",
        f"tiles: {inputs.dataset.root} ({len(inputs.tiles.train)} train, {num_val} val, {num_test} test, "
        f"{'opened once for each arm' if is_tested else 'which stay sealed'})",
        f"encoder weights: {', '.join(spec.weights)}; judged by {spec.judged_metric}; seed {spec.seed}",
        f"on {spec.address or 'this machine'}; would write {out}; W&B {spec.wandb}",
    ):
        console.print(line, highlight=False, soft_wrap=True)


def _slots(inputs: StudyInputs) -> Slots:
    """The slots of this machine, or of the cluster that the spec names, which Ray has to ask."""
    spec = inputs.spec
    if spec.address is None:
        return fit_slots(spec, [this_machine()], inputs.train_px, inputs.scored_px)
    from studies.backend import cluster  # here: Ray takes seconds to import and to connect

    with cluster.ray_session(spec.address):
        return cluster.ray_slots(spec, inputs.train_px, inputs.scored_px)
