"""Studies of a person's own networks: they go on from the copy of his file, whatever becomes of the original."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from analysis.logs.wandb_files import read_logs
from studies import study
from studies.dry_run import show_plan
from studies.inputs import load_inputs
from studies.profiles import PHASES
from tests.studies.begun_study import keep_ray_away
from tests.studies.command_lines import read, request_of
from tests.trainables.own_network import write_networks
from trainables.checkpoints import load_model
from trainables.common.errors import UserError

PHASE_1, PHASE_2, PHASE_3 = PHASES
STUDIES = Path(__file__).parents[2] / "studies"
SMOKE = ["--profile", "smoke", "--architectures"]
QUIET = Console(quiet=True)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """The file, in the folder that a person is in."""
    monkeypatch.chdir(tmp_path)
    return write_networks(tmp_path)


@pytest.fixture
def begun(path, data, tmp_path, monkeypatch):
    """The folder of a phase 2 that its time ended at once."""
    keep_ray_away(monkeypatch)
    flags = [*data, *SMOKE, "my_nets.py:build", "--trials", "2", "--wandb", "disabled", "--max-hours", "1e-9"]
    run(*flags, "--out", "begun")
    return tmp_path / "begun"


def run(*flags: str) -> None:
    request = request_of(*flags)
    assert request.out is not None
    study.run_study(request.spec, out=request.out, console=QUIET, options=request.options)


def test_study_has_a_copy_and_knows_it_by_its_digest(begun, path):
    assert (begun / "networks" / "my_nets.py").read_bytes() == path.read_bytes()
    content = yaml.safe_load((begun / "study.yaml").read_text(encoding="utf-8"))
    assert content["architectures"] == ["my_nets.py:build"]
    assert list(content["provenance"]["network_digests"]) == ["my_nets.py"]


@pytest.mark.parametrize("becomes", ["same", "edited", "gone"])
def test_study_goes_on_from_its_copy_whatever_becomes_of_the_original(becomes, begun, path, say):
    match becomes:
        case "edited":
            path.write_text("raise ValueError")
        case "gone":
            path.unlink()
    run("--out", "begun", "--resume", "--max-hours", "1e-9")
    assert "my_nets.py:build-4" in say(begun)
    assert read("--config", "begun/study.yaml").architectures == ("my_nets.py:build",)
    moved = begun.rename(begun.with_name("moved"))
    (arm,) = read("--out", str(moved), "--resume").architectures
    assert arm == "my_nets.py:build"


def test_edited_file_is_refused_where_a_study_goes_on_with_it(begun, path, refusal):
    write_networks(path.parent, end="\n# edited\n")
    flags = ["--out", "begun", "--resume", "--architectures", "my_nets.py:build"]
    message = refusal(PHASE_2, *flags)
    copy = Path("begun/networks/my_nets.py")
    assert message.startswith("my_nets.py is no longer what begun began with: name its copy, ")
    assert f"{copy}:build" in message
    write_networks(path.parent)
    run(*flags, "--max-hours", "1e-9")  # the same flags again do no harm
    copy.write_text(copy.read_text() + "\n# edited\n")
    assert "is not the file that the study" in refusal(PHASE_2, "--out", "begun", "--resume")
    copy.unlink()
    assert "no such file" in refusal(PHASE_2, "--out", "begun", "--resume")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["my_nets.py:raises"], "ValueError: no luck"),
        (["my_nets.py:of_two_outputs"], "must give logits"),
        (["my_nets.py:Declared"], "--window-px is 64, but my_nets.py:Declared takes 40 px only"),
        (["my_nets.py:build", "b/my_nets.py:Net"], "one name in tables"),
        (["my_nets.py:build", "./my_nets.py:build"], "names one of my_nets.py:build, my_nets.py:build twice"),
    ],
)
def test_networks_that_cannot_be_are_refused_before_anything_starts(names, words, path, data, refusal, tmp_path):
    write_networks(tmp_path / "b")
    assert words in refusal(PHASE_1, *data, *SMOKE, *names, "--out", "out", "--dry-run")
    assert not (tmp_path / "out").exists()


def test_weights_are_the_persons_own(path, data):
    spec = read(*data, *SMOKE, "my_nets.py:build@staged", "unet_resnet34", "--weights", "none")
    inputs = load_inputs(spec, QUIET, is_dry_run=True)
    assert {arm.architecture: arm.weights(inputs.spec) for arm in inputs.spec.arms()} == {
        "my_nets.py:build@staged": "own",
        "unet_resnet34": "none",
    }


@pytest.mark.faults
def test_own_network_goes_through_the_phases(path, start, data, ray_address, tmp_path):
    """Phase 2 is stopped and goes on after the file is edited; phase 3 takes the network that was tuned."""
    one = start(STUDIES / "phase1_comparison.py", *data, *SMOKE, "my_nets.py:Net", "--out", "one", address=ray_address)
    one.ends()
    assert one.errors.read_text() == ""
    (arm,) = read_logs(tmp_path / "one").study["arms"]
    assert (arm["architecture_label"], arm["weights"], arm["is_stand_in"]) == ("my_nets.py:Net", "own", False)
    flags = [*data, *SMOKE, "my_nets.py:build@staged", "--trials", "1", "--out", "two", "--wandb", "disabled"]
    start(STUDIES / "phase2_tuning.py", *flags, "--seeds", "0", address=ray_address).ends()
    original = path.read_bytes()
    path.write_text("raise ValueError")
    resumed = start(STUDIES / "phase2_tuning.py", "--out", "two", "--resume", "--seeds", "1", address=ray_address)
    resumed.ends()
    assert resumed.errors.read_text() == ""
    models = json.loads((tmp_path / "two" / "models.json").read_text())
    assert {arm: [m["state"] for m in row["models"]] for arm, row in models.items()} == {
        "my_nets.py:build@staged-4": ["finished"]
    }
    (selected,) = json.loads((tmp_path / "two" / "selection.json").read_text()).values()
    trained = load_model(tmp_path / "two" / selected["checkpoint"])
    assert trained.config.signature() == selected["signature"]
    assert ":" not in selected["checkpoint"]
    assert (tmp_path / "two" / "networks" / "my_nets.py").read_bytes() == original
    names = ["--from", "two", "--out", "three", "--architectures", "my_nets.py:build@staged"]
    with pytest.raises(UserError, match="no longer what two began with"):
        read(*names, phase=PHASE_3)
    path.unlink()
    shutil.rmtree(tmp_path / "one")
    request = request_of(*names, "--dry-run", phase=PHASE_3)
    assert request.spec.chosen.keys() == {"my_nets.py:build@staged"}
    show_plan(request, tmp_path / "three", QUIET)
