"""The W&B workspace and report as code: what is printed, and what arrives at a stand-in for the server."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.dashboard.__main__ import main
from analysis.dashboard.build import parts
from tests import wandb_server

METRIC = "val/iou_center512"
VIEW_TYPES = [
    *(*["Run History Line Plot"] * 3, "Bar Chart", "Scatter Plot"),
    *("Parallel Coordinates Plot", "Parameter Importance", "Media Browser"),
]
ONLY_TRIALS = [("jobType", "=", "trial")]


@pytest.fixture(scope="module")
def only_server() -> Iterator[Any]:
    with wandb_server.talking() as kept:
        yield kept


@pytest.fixture
def server(only_server: Any) -> Any:
    """A server with a study of two runs, judged by `METRIC`."""
    only_server.clear()
    for number in (1, 2):
        study(only_server, f"study{number}", METRIC)
    return only_server


def study(server: Any, name: str, metric: str) -> None:
    config = {"study": {"value": name}, "judged_metric": {"value": metric}}
    about = {"jobType": "study", "displayName": name}
    server.runs[name] = wandb_server.StoredRun("someone", "fewtile", name, fields=about, config=config)


def filters(runset: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(kept["key"]["name"], kept["op"], kept["value"]) for kept in runset["filters"]["filters"]]


def test_workspace_and_report_arrive_with_a_section_for_each_part(
    server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["someone/fewtile"]) == 0
    (view,) = [view for view in server.views.values() if view["type"] == "project-view"]
    assert (view["entityName"], view["projectName"], view["displayName"]) == ("someone", "fewtile", "Fewtile")
    section = json.loads(view["spec"])["section"]
    sections = section["panelBankConfig"]["sections"]
    assert [kept["name"] for kept in sections] == [part.title for part in parts(METRIC)]
    panels = [panel for kept in sections for panel in kept["panels"]]
    assert [panel["viewType"] for panel in panels] == VIEW_TYPES
    curve, _, _, bars, scatter, parallel, importance, overlays = (panel["config"] for panel in panels)
    assert (curve["xAxis"], curve["metrics"]) == ("epoch", [METRIC])
    assert (curve["groupBy"], curve["groupAgg"]) == ("group", "mean")
    assert (bars["metrics"], bars["groupBy"], bars["groupAgg"]) == ([METRIC], "architecture.value", "median")
    assert (scatter["xAxis"], scatter["yAxis"]) == ("config:tiles.value", f"summary:{METRIC}")
    names = ("lr", "augmentation", "decoder_dropout", "loss", "bce_weight")
    columns = ["architecture.value", *(f"hyperparameters.value.{name}" for name in names)]
    shown = [column["accessor"] for column in parallel["columns"]]
    assert shown == [*(f"config:{column}" for column in columns), f"summary:{METRIC}"]
    assert importance["targetKey"] == METRIC
    assert overlays["mediaKeys"] == ["overlays"]
    assert filters(section["runSets"][0]) == ONLY_TRIALS
    told = capsys.readouterr()
    name = view["name"].removeprefix("nw-").removesuffix("-v")
    assert told.out.splitlines()[0] == f"workspace: {server.url}/someone/fewtile?nw={name}"
    assert told.err == ""
    ((view_id, view),) = [(key, view) for key, view in server.views.items() if view["type"] == "runs"]
    assert view["displayName"] == "Fewtile: fewtile"
    blocks = json.loads(view["spec"])["blocks"]
    grids = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
    panels = [panel for grid in grids for panel in grid["panelBankSectionConfig"]["panels"]]
    assert [panel["viewType"] for panel in panels] == VIEW_TYPES
    for grid in grids:
        (runset,) = grid["runSets"]
        assert (runset["project"]["entityName"], runset["project"]["name"]) == ("someone", "fewtile")
        assert filters(runset) == ONLY_TRIALS
    headings = [block["children"][0]["text"] for block in blocks if block["type"] == "heading"]
    assert headings == [part.title for part in parts(METRIC)]
    address = told.out.splitlines()[1].split()[1]
    assert address.startswith(f"{server.url}/someone/fewtile/reports/")
    assert address.rstrip("=").endswith(view_id.rstrip("="))


def test_metric_must_be_given_where_studies_differ_or_there_is_none(
    server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    study(server, "study3", "val/iou")
    assert main(["someone/fewtile"]) == 2
    assert capsys.readouterr().err == (
        "error: the studies in someone/fewtile were judged by val/iou, val/iou_center512, but the panels are of one "
        "metric: give --metric, such as val/iou_center512\n"
    )
    for run in server.runs.values():
        run.fields["jobType"] = "theirs"
    assert main(["someone/fewtile"]) == 2
    assert "someone/fewtile has no study, but" in capsys.readouterr().err
    assert server.views == {}
    assert main(["someone/fewtile", "--metric", "val/iou"]) == 0
    specs = [view["spec"] for view in server.views.values()]
    assert len(specs) == 2
    assert all('"val/iou"' in spec and METRIC not in spec for spec in specs)


@pytest.mark.parametrize("operation", ["Runs", "UpsertView2", "upsertView"])
def test_trouble_of_the_server_is_one_line(server: Any, capsys: pytest.CaptureFixture[str], operation: str) -> None:
    server.trouble[operation] = (403, "permission denied")
    assert main(["someone/fewtile"]) == 2
    told = capsys.readouterr()
    assert told.err == (
        "error: W&B does not give someone/fewtile (permission denied): check the name, the network and the login's "
        "rights\n"
    )
    assert told.out == ""


def test_project_that_is_not_entity_and_project_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    rule = "error: the W&B project is 'fewtile', but must be entity/project: give it like someone/fewtile\n"
    for arguments in (["fewtile"], ["fewtile", "--dry-run"]):
        assert (main(arguments), capsys.readouterr().err) == (2, rule)


def test_dry_run_prints_the_specification_without_server_or_login(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "analysis.dashboard", "someone/fewtile", "--dry-run", "--metric", METRIC],
        env={"HOME": str(tmp_path), "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_CONFIG_DIR": str(tmp_path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = yaml.safe_load(done.stdout)
    assert told["judged_metric"] == METRIC
    sections = told["workspace"]["sections"]
    kinds = [panel["panel"] for panels in sections.values() for panel in panels]
    assert kinds == [type(panel).__name__ for part in parts(METRIC) for panel in part.panels]
    first = sections["Learning curves"][0]
    assert (first["x"], first["y"], first["groupby"], first["max_runs_to_show"]) == ("epoch", [METRIC], "Group", 1000)
    assert list(told["report"]["chapters"]) == list(sections)
