"""What a study would run, how much of it and where; nothing of it is run."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from studies.backend.machine import this_machine
from studies.backend.memory import needed_gib, trial_memory
from studies.backend.slots import Node, Slots, by_memory, fit_slots
from studies.command_line import Request
from studies.files import folder
from studies.inputs import StudyInputs, load_inputs
from studies.seal.leaks import check_splits
from studies.seal.seal import seals_of
from studies.search.plans import Finals, first_plan, num_models

if TYPE_CHECKING:
    from trainables.memory import Memory

Memories = Mapping[str, "Memory | None"]

COMMON_GPUS_GIB = (16, 24, 48, 80)
"""Memory of GPUs that are rented: T4, A10 or L4, L40S, A100 or H100."""


def show_plan(request: Request, out: Path, console: Console) -> None:
    """Checks all that a start checks, and prints the arms, their trials and epochs, the machines, and the forecast.

    Raises:
        UserError: The spec, the tiles or the folder do not allow it.
    """
    folder.check_free(out.resolve())
    is_forecast = request.forecast_slots is not None
    inputs = load_inputs(request.spec, console, is_dry_run=True, keeps_tiles=is_forecast)
    spec = inputs.spec
    is_tested = bool(spec.seeds and spec.test)
    about: dict[str, Any] = {"out": out.resolve(), "study": out.name, "study_id": ""}
    seals = seals_of(inputs.dataset, inputs.rule, **about) if is_tested else ()
    for seal in seals:
        seal.check()
    check_splits(inputs, seals, console, strict=request.options.strict_splits)
    memories = functools.cache(lambda: trial_memory(inputs, console))
    node = this_machine()
    slots = _slots(inputs, node, lambda: needed_gib(memories()))
    plan = first_plan(spec, inputs.digests, len(inputs.tiles.train))
    finals = plan if isinstance(plan, Finals) else None
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("arm", min_width=max(len(arm.name) for arm in plan.arms))
    for column in ("search", "final", "epochs"):
        table.add_column(column, justify="right")
    total = 0
    for arm in plan.arms:
        num_searched = 0 if finals else plan.allowance(arm)
        num_final = num_models(spec, plan, arm)
        epochs = (num_searched * inputs.num_networks(arm) + num_final) * spec.recipe.epochs
        total += epochs
        table.add_row(arm.title(spec), str(num_searched), str(num_final), str(epochs))
    console.print(table)
    if slots.gpus or spec.profile == "full":  # which wants a GPU: it may be run on another machine than planned on
        is_here = spec.address is None and node.gpus > 0
        console.print(_memory_table(memories(), (node.gpu_gib,) if is_here else COMMON_GPUS_GIB))
        console.print("what a trial takes, and how many of them have room on such GPUs", highlight=False)
    count = f"{len(inputs.tiles.train)} train, {len(inputs.tiles.val)} val"
    if spec.labels is not None:
        count = f"{len(inputs.tiles.train)} labelled, in folds or all learnt from"
    sealed = ", ".join(f"{len(files.tiles)} {files.split}" for files in inputs.dataset.test_sets)
    if spec.with_recipe and not finals and spec.seeds:
        console.print("half of the final models are of the recipe, unless the search selects it", highlight=False)
    if spec.max_seeds is not None:
        more = f"up to {spec.max_seeds} seeds instead of {spec.seeds} for arms that val does not tell from the leader"
        console.print(more, highlight=False)
    for line in (
        f"{total} epochs at most, each of {spec.recipe.draws_per_epoch} draws; {slots}",
        f"tiles: {inputs.dataset.root} ({count}, {sealed}, "
        f"{'opened once for each arm' if is_tested else 'which stay sealed'})",
        f"encoder weights: {', '.join(spec.weights)}; judged by {spec.judged_metric}; seed {spec.seed}",
        f"on {spec.address or 'this machine'}; would write {out}; W&B {spec.wandb}",
    ):
        console.print(line, highlight=False, soft_wrap=True)
    if request.forecast_slots is not None:
        from studies.simulate.price import show_forecast  # here: it imports Optuna

        here = slots if spec.address is None else fit_slots(spec, [node], lambda: needed_gib(memories()))
        show_forecast(inputs, plan, here, request.forecast_slots or slots.count, request.price_per_hour, console)


def _slots(inputs: StudyInputs, node: Node, needed: Callable[[], float]) -> Slots:
    """The slots of this machine, or of the cluster that the spec names, which Ray has to ask."""
    spec = inputs.spec
    if spec.address is None:
        return fit_slots(spec, [node], needed)
    from studies.backend import cluster  # here: Ray takes seconds to import and to connect

    with cluster.ray_session(spec.address):
        return cluster.ray_slots(spec, needed)


def _memory_table(memories: Memories, gpus_gib: Sequence[float]) -> Table:
    """The memory of a trial of each architecture (GiB), and how many trials have room on GPUs of such sizes."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("GiB of a GPU", min_width=max(map(len, memories)))
    for column in ("train", "predict", "trial", *(f"{gib:.0f} GiB" for gib in gpus_gib)):
        table.add_column(column, justify="right")
    for name, memory in memories.items():
        if memory is None:
            table.add_row(name, *("–" for _ in table.columns[1:]))
        else:
            cells = [f"{gib:.1f}" for gib in (memory.train_gib, memory.evaluate_gib, memory.gib)]
            table.add_row(name, *cells, *(str(by_memory(gib, memory.gib)) for gib in gpus_gib))
    return table
