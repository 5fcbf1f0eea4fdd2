"""A study's folder: the frozen spec in it, who may write there, and files that are whole or not there."""

import contextlib
import json
import sqlite3
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from studies.files import lock
from studies.spec import StudySpec
from trainables.common.errors import UserError
from trainables.common.whole_files import part_path, write_whole
from trainables.models.own.files import NETWORKS, of_copies, write_copies

STUDY = "study.yaml"
LEDGER = "optuna.db"
MODELS = "models.json"

PROVENANCE = "provenance"
"""Key of study.yaml that tells where a study came from; skipped when the file is given as `--config`."""

_ORIGIN = {"study_id", "segments"}

_YOUNGER = ("with_recipe", "ensembles", "tta", "recipe_point")
"""Settings that profiles turn on and that the files of older studies do not have."""


def load_settings(path: Path, flag: str = "--config") -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings and the provenance in a YAML file. A study's own file means the copies of networks beside it.

    Raises:
        UserError: It cannot be read or holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{flag} {path} cannot be read: check the path") from error
    except (yaml.YAMLError, ValueError) as error:  # no date of the calendar, or no UTF-8, is a ValueError
        raise UserError(f"{flag} {path} is no YAML: mend it") from error
    if not isinstance(content, dict):
        raise UserError(f"{flag} {path} holds {type(content).__name__}, but must hold `setting: value` lines")
    provenance = content.pop(PROVENANCE, {})
    if provenance and "profile" in content:  # of whatever is younger than the study, it had none
        content = {name: StudySpec.model_fields[name].default for name in _YOUNGER} | content
    if provenance and "architectures" in content:
        content["architectures"] = of_copies(content["architectures"], path.parent)
    return content, provenance if isinstance(provenance, dict) else {}


def load_frozen(out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The frozen settings and the provenance of the study in a folder.

    Raises:
        UserError: study.yaml cannot be read, or is not as a study wrote it.
    """
    settings, origin = load_settings(out / STUDY, "the frozen spec")
    if not origin.keys() >= _ORIGIN:
        raise UserError(f"{out / STUDY} does not tell where the study came from: put the study's own file back")
    return settings, origin


def has_study(out: Path) -> bool:
    """Whether a study has begun in this folder: its frozen spec is written last of all that it begins with.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return (out / STUDY).exists()
    except OSError as error:
        raise UserError(f"--out {out} cannot be read ({error.strerror}): choose another folder") from error


def check_free(out: Path) -> None:
    """Refuses a folder that something is in, besides what a driver left that was killed before its study began.

    Raises:
        UserError: It is not empty or cannot be read.
    """
    if has_study(out):
        raise UserError(f"--out {out} holds a study: resume it with --resume, or choose another folder")
    try:
        known = {out / lock.NAME, out / NETWORKS, *_start_files(out)}
        if out.exists() and (not out.is_dir() or not known.issuperset(out.iterdir()) or _holds_trials(out / LEDGER)):
            raise UserError(f"--out {out} exists and is not empty: choose another folder, or remove it")
    except OSError as error:
        raise UserError(f"--out {out} cannot be read ({error.strerror}): choose another folder") from error


@contextlib.contextmanager
def hold_folder(out: Path, *, resume: bool) -> Iterator[None]:
    """Holds the folder for this driver; one in which nothing has begun by the end is left as it was.

    Raises:
        UserError: Another driver holds it; it cannot be written; or it is not empty and holds no study to resume.
    """
    made: list[Path] = []
    try:
        try:
            made = [path for path in (out, *out.parents) if not path.exists()]
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {out} cannot be made ({error.strerror}): choose another folder") from error
        with lock.only_driver(out):
            if not (resume and has_study(out)):
                check_free(out)
                _clear(out)
            try:
                yield
            finally:
                if not has_study(out):
                    _clear(out)
    finally:
        for path in made:
            with contextlib.suppress(OSError):  # something is in it, or it is gone
                path.rmdir()


def trial_folder(out: Path, arm: str, number: int) -> Path:
    """Where a trial's checkpoints lie."""
    return out / "checkpoints" / _folder_name(arm) / f"{number:04d}"


def beat_file(out: Path, arm: str, number: int) -> Path:
    """Touched by a trial's worker at the start of a batch or val tile."""
    return trial_folder(out, arm, number) / "beat"


def predictions_folder(out: Path, split: str, arm: str, number: int) -> Path:
    """Where a model's predictions for the tiles of a split (`val`, `test` or `test-<name>`) lie."""
    return out / "predictions" / split / _folder_name(arm) / f"model-{number}"


def _folder_name(arm: str) -> str:
    """An arm's name without colons, which some file systems and `scp` do not take; no two arms come to the same."""
    return arm.replace(":", ".")


def _start_files(out: Path) -> list[Path]:
    """Files that a driver writes before the study begins."""
    return [*out.glob(f"{LEDGER}*"), *out.glob(part_path(out / STUDY).name), *out.glob(".permit-*")]


def _clear(out: Path) -> None:
    for path in _start_files(out):
        path.unlink(missing_ok=True)


def _holds_trials(ledger: Path) -> bool:
    """Whether a ledger without a study must be kept; also when it is none."""
    if not ledger.exists():
        return False
    try:
        with contextlib.closing(sqlite3.connect(ledger)) as connection:
            tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'trials'").fetchone()
            return tables is not None and connection.execute("SELECT 1 FROM trials").fetchone() is not None
    except sqlite3.Error:
        return True


def provenance(facts: dict[str, Any]) -> dict[str, Any]:
    """What study.yaml says of a new study besides its settings."""
    return {"study_id": uuid.uuid4().hex} | facts | {"segments": []}


def write_study(out: Path, spec: StudySpec, provenance: dict[str, Any], **segment: Any) -> None:
    """Writes study.yaml, with a line for this start of the driver added to its provenance, and copies of networks."""
    write_copies(out, spec.architectures)
    began = {"began": datetime.now(UTC).isoformat(timespec="seconds")}
    segments = [*provenance["segments"], began | segment]
    settings = yaml.safe_dump(spec.flat(), sort_keys=False)
    origin = yaml.safe_dump({PROVENANCE: provenance | {"segments": segments}}, sort_keys=False)
    head = "# What this study ran. Run it again with --config THIS_FILE --out OTHER_FOLDER.\n"
    write_whole(out / STUDY, (head + settings + origin).encode(), outlasts_power=True)


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file, whole or not at all, also when the power goes."""
    write_whole(path, f"{json.dumps(content, indent=2)}\n".encode(), outlasts_power=True)
