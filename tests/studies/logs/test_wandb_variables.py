"""W&B's environment variables: what a study heeds, what it sets aside, and what is refused before it starts."""

import os
import tempfile

import pytest
import wandb

from studies.logs import tracking, wandb_checks, wandb_variables
from tests.studies.logs.logged import runs_below
from trainables.common.errors import UserError


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


BREAK_RUNS = {
    "WANDB_RUN_ID": "a/b",
    "WANDB_MODE": "nonsense",
    "WANDB_RESUME": "maybe",
    "WANDB_SWEEP_ID": "abc",
    "WANDB_LAUNCH": "true",
    "WANDB_FORK_FROM": "abc",
    "WANDB_TAGS": ",",
    "WANDB_CONSOLE": "x",
    "WANDB_X_PRIMARY": "x",
    "WANDB_HTTP_TIMEOUT": "x",
    "WANDB_SILENT": "maybe",
}


def test_variables_that_would_break_runs_are_set_aside_and_named(monkeypatch):
    for name, value in BREAK_RUNS.items():
        monkeypatch.setenv(name, value)
    (note,) = wandb_checks.check_variables()
    for name in BREAK_RUNS.keys() - {"WANDB_SILENT"}:
        assert name in note
        assert name not in os.environ
    assert os.environ["WANDB_SILENT"] == "true"
    assert wandb_checks.check_variables() == []


def test_run_under_such_variables_is_the_studys_own(tmp_path, monkeypatch):
    """As in a worker, whose node may have been started with them."""
    for name, value in BREAK_RUNS.items():
        monkeypatch.setenv(name, value)
    run = tracking.WandbRun(tmp_path, "offline", name="unet-5/0", group="a", job_type="trial", config={"trial": 0})
    run.log({"epoch": 1})
    run.finish()
    tracking.complete_files()
    assert run.trouble == ""
    (logged,) = runs_below(tmp_path, "offline-run-*")
    assert (len(logged.path.stem.removeprefix("run-")), logged.config["trial"]) == (12, 0)
    assert [row["epoch"] for row in logged.rows] == [1]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WANDB_PROJECT", "a/b", r"^WANDB_PROJECT is 'a/b', but W&B refuses it \(Invalid project name"),
        ("WANDB_PROJECT", "x" * 129, "exceeded 128 characters"),
        ("WANDB_BASE_URL", "nowhere", r"^WANDB_BASE_URL is 'nowhere', but W&B refuses it \(Input should be a"),
        ("WANDB_X_EXTRA_HTTP_HEADERS", "secret", r"^WANDB_X_EXTRA_HTTP_HEADERS is \*\*\*, but W&B refuses it"),
    ],
)
def test_value_that_wandb_refuses_is_one_line(name, value, words, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=words) as caught:
        wandb_checks.check_variables()
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["WANDB_PROJECT", "WANDB_ENTITY", "WANDB_BASE_URL"])
def test_variable_that_is_set_to_nothing_is_not_set(name, monkeypatch):
    monkeypatch.setenv(name, " ")
    assert wandb_checks.check_variables() == []
    assert name not in os.environ


def test_login_and_server_are_heeded(monkeypatch):
    given = {"WANDB_PROJECT": "roofs", "WANDB_ENTITY": "team", "WANDB_BASE_URL": "http://127.0.0.1:9"}
    given |= {"WANDB_API_KEY": "0" * 40, "WANDB_CONFIG_DIR": "/tmp", "WANDB_HTTP_PROXY": "http://127.0.0.1:9"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert wandb_checks.check_variables() == []
    assert {name: os.environ[name] for name in given} == given


def test_whatever_else_wandb_refuses_is_known_before_a_study_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    wandb_checks.check_start()
    assert list(tmp_path.iterdir()) == []

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("a file of settings\nis torn")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(UserError, match=r"^W&B starts no run here \(a file of settings is torn\): mend"):
        wandb_checks.check_start()
    assert wandb_variables.set_aside() == []


def test_nothing_is_set_without_variables_and_files_of_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_ERROR_REPORTING")
    assert wandb_variables.are_unset()
    for settings in (tmp_path / "home/.config/wandb/settings", tmp_path / "wandb/settings"):
        settings.parent.mkdir(parents=True)
        settings.touch()
        assert not wandb_variables.are_unset()
        settings.unlink()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert not wandb_variables.are_unset()
