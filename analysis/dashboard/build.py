"""A W&B workspace and a W&B report of a project, as code: their panels, their specification, and how they are saved."""

import dataclasses
import warnings
from typing import Any

import yaml

from analysis.logs.errors import LogsError
from analysis.logs.rows import OVERLAYS
from analysis.logs.run_configs import STUDY_JOB, TRIAL_JOB
from analysis.logs.wandb_api import connect, told_in_one_line

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # wandb-workspaces 0.4 has pydantic 1's validators
    import wandb_workspaces.reports.v2.interface as wr
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

NAME = "Fewtile"
MAX_RUNS = 1000
"""In one plot; W&B shows ten unless told."""

_HYPERPARAMETERS = ("lr", "augmentation", "decoder_dropout", "loss", "bce_weight")
_ARM = "Group"  # W&B's group of a trial's run is <study>/<arm>, so arms of several studies are not mixed


@dataclasses.dataclass(frozen=True)
class Part:
    """What belongs together: a section of the workspace, and a chapter of the report."""

    title: str
    text: str
    panels: list[Any]


def parts(metric: str) -> list[Part]:
    """Returns what workspace and report show, with panels that are new each time.

    Args:
        metric: The judged one, such as `val/iou_center512`.
    """
    last = wr.SummaryMetric(metric)
    curves = {metric: f"{metric} by arm", "val/loss": "Validation loss by arm", "train/loss": "Training loss by arm"}
    return [
        Part(
            "Learning curves",
            "Mean and range over the trials of an arm that reached the epoch: where trials were stopped early, later "
            "epochs are of the better ones only.",
            [
                wr.LinePlot(
                    title=title,
                    x="epoch",
                    y=[key],
                    title_x="epoch",
                    groupby=_ARM,
                    groupby_aggfunc="mean",
                    groupby_rangefunc="minmax",
                    max_runs_to_show=MAX_RUNS,
                )
                for key, title in curves.items()
            ],
        ),
        Part(
            "IoU by architecture and tiles",
            f"{metric} of each trial at its last epoch. Trials were chosen by their best epoch: the tables of "
            "`python -m analysis.report` have those, with intervals.",
            [
                wr.BarPlot(
                    title=f"{metric} by architecture: median and range of the trials",
                    metrics=[metric],
                    orientation="h",
                    groupby=wr.Config("architecture"),
                    groupby_aggfunc="median",
                    groupby_rangefunc="minmax",
                    max_runs_to_show=MAX_RUNS,
                    max_bars_to_show=50,
                ),
                wr.ScatterPlot(title=f"{metric} by number of tiles", x=wr.Config("tiles"), y=last),
            ],
        ),
        Part(
            "Hyperparameters",
            f"What the trials' {metric} at the last epoch goes along with; importance is W&B's own estimate, over all "
            "arms together.",
            [
                wr.ParallelCoordinatesPlot(
                    title=f"Hyperparameters and {metric}",
                    columns=[
                        wr.ParallelCoordinatesPlotColumn(wr.Config("architecture")),
                        *(
                            wr.ParallelCoordinatesPlotColumn(
                                wr.Config(f"hyperparameters.{name}"), display_name=name, log=name == "lr" or None
                            )
                            for name in _HYPERPARAMETERS
                        ),
                        wr.ParallelCoordinatesPlotColumn(last),
                    ],
                ),
                wr.ParameterImportancePlot(with_respect_to=metric),
            ],
        ),
        Part(
            "Predictions",
            "Image, truth and prediction per val tile.",
            [wr.MediaBrowser(title="Overlays", media_keys=[OVERLAYS], num_columns=3)],
        ),
    ]


def workspace(project: str, metric: str) -> ws.Workspace:
    """Returns the saved view of `entity/project`, not saved yet: nothing is asked of a server."""
    entity, name = project.split("/")
    return ws.Workspace(
        entity=entity,
        project=name,
        name=NAME,
        sections=[ws.Section(name=part.title, panels=part.panels, is_open=True) for part in parts(metric)],
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=MAX_RUNS),
        runset_settings=ws.RunsetSettings(
            filters=expr.And(expr.Metric("JobType") == TRIAL_JOB),
            order=[expr.Ordering(expr.Summary(metric), ascending=False)],
        ),
    )


def report(project: str, metric: str) -> wr.Report:
    """Returns the W&B report on `entity/project`, not saved yet: nothing is asked of a server."""
    entity, name = project.split("/")
    blocks: list[Any] = [wr.TableOfContents()]
    for part in parts(metric):
        runset = wr.Runset(entity=entity, project=name, name="Trials", filters=f"JobType = '{TRIAL_JOB}'")
        blocks += [wr.H2(part.title), wr.P(part.text), wr.PanelGrid(runsets=[runset], panels=part.panels)]
    return wr.Report(
        entity=entity,
        project=name,
        title=f"{NAME}: {name}",
        description=f"Single trials, judged by {metric}. Intervals and contrasts: python -m analysis.report",
        blocks=blocks,
        width="fluid",
    )


def specification(project: str, metric: str) -> str:
    """Returns what would be made, as YAML; nothing is asked of a server."""
    view, document = workspace(project, metric), report(project, metric)
    content = {
        "project": project,
        "judged_metric": metric,
        "workspace": {
            "name": view.name,
            "runs": view.runset_settings.filters,
            "sections": {section.name: [_plain(panel) for panel in section.panels] for section in view.sections},
        },
        "report": {
            "title": document.title,
            "description": document.description,
            "chapters": {part.title: part.text for part in parts(metric)},
            "panels": "those of the workspace's sections",
        },
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def save(project: str, metric: str | None = None) -> tuple[str, str]:
    """Saves a new workspace view and a new report, and returns their addresses.

    Args:
        project: As `entity/project`.
        metric: The judged one; by default what the project's studies say.

    Raises:
        LogsError: The project cannot be reached, read or changed, or its studies do not agree on a metric.
    """
    api = connect(project)
    with told_in_one_line(project):
        studies = list(api.runs(project, filters={"jobType": STUDY_JOB}, lazy=False, include_sweeps=False))
    judged = sorted({str(run.config["judged_metric"]) for run in studies if "judged_metric" in run.config})
    if metric is None and len(judged) != 1:
        said = f"the studies in {project} were judged by {', '.join(judged)}" if judged else f"{project} has no study"
        raise LogsError(f"{said}, but the panels are of one metric: give --metric, such as val/iou_center512")
    chosen = metric or judged[0]
    made: tuple[Any, Any] = workspace(project, chosen), report(project, chosen)  # their methods have no types
    with told_in_one_line(project):
        view, document = (kept.save().url for kept in made)
    return view, document


def _plain(value: Any) -> Any:
    """Turns a panel into what YAML can say: its type, and whatever is not as it would be anyway."""
    if isinstance(value, wr.Config | wr.SummaryMetric):
        return f"{type(value).__name__}({value.name})"
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        told = {name: _plain(what) for name, what in fields.items() if name[0] != "_" and name != "layout"}
        kept = {name: what for name, what in told.items() if what not in (None, [], [None, None])}
        return {"panel" if isinstance(value, wr.Panel) else "type": type(value).__name__} | kept
    if isinstance(value, list | tuple):
        return [_plain(what) for what in value]
    return value
