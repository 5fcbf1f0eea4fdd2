"""Command lines of the phases: a flag and a YAML key per field of spec and recipe, and errors in one line."""

import argparse
import difflib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from studies.profiles import PROFILES, ProfileName
from studies.spec import StudySpec
from trainables.command import Parser, add_flags, is_list, validate
from trainables.config import Recipe
from trainables.errors import UserError
from trainables.weights import encoder_of

PROVENANCE = "provenance"
"""Key of study.yaml that tells where a study came from; skipped when the file is given as `--config`."""


def read_command_line(argv: Sequence[str], *, description: str) -> tuple[StudySpec, Path | None]:
    """The spec and `--out` (None if left out) from flags over a YAML file over the profile's defaults.

    Raises:
        UserError: A flag, key or value that is not allowed.
    """
    flags = vars(_parser(description).parse_args(argv))
    out = flags.pop("out", None)
    settings = _read_yaml(flags.pop("config")) if "config" in flags else {}
    file_out = settings.pop("out", None)
    if "seed" in flags:  # seeds of the file that followed from its own seed
        settings = {key: value for key, value in settings.items() if key not in ("subset_seed", "draw_seed")}
    spec = make_spec(settings | flags)
    out = file_out if out is None else out
    return spec, None if out is None else Path(str(out))


def make_spec(settings: dict[str, Any]) -> StudySpec:
    """The spec of flat settings (flags or YAML keys), with the profile's defaults for what they leave out.

    Raises:
        UserError: An unknown key or a value that is not allowed.
    """
    known = _study_fields() | Recipe.model_fields
    for key in settings:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise UserError(f"setting {key!r} is unknown: {hint}")
    settings = {
        key: [value] if is_list(known[key]) and isinstance(value, str | int) else value
        for key, value in settings.items()
    }
    name: ProfileName = settings.get("profile", "quick")
    if not isinstance(name, str) or name not in PROFILES:
        raise UserError(f"--profile is {name!r}, but must be one of {', '.join(PROFILES)}")
    profile = PROFILES[name]
    match settings.get("weights"):
        case [_, *_] as choices if all(encoder_of(str(choice)) for choice in choices):  # they add to the profile's
            settings["weights"] = [*profile.study.get("weights", ()), *choices]
    study = profile.study | {key: value for key, value in settings.items() if key in StudySpec.model_fields}
    seed = validate(StudySpec, study).seed
    recipe = {"subset_seed": seed, "draw_seed": seed} | profile.recipe
    recipe |= {key: value for key, value in settings.items() if key in Recipe.model_fields}
    return validate(StudySpec, study | {"recipe": validate(Recipe, recipe)})


def default_folders(phase: str) -> Iterator[Path]:
    """`runs/<phase>`, `runs/<phase>-2`, …: where a study goes when no folder is given, the first that is free."""
    yield Path("runs") / phase
    for number in itertools.count(2):
        yield Path("runs") / f"{phase}-{number}"


def _study_fields() -> dict[str, FieldInfo]:
    return {name: field for name, field in StudySpec.model_fields.items() if name != "recipe"}


def _parser(description: str) -> argparse.ArgumentParser:
    profiles = "\n".join(f"  {name:6} {profile.purpose}" for name, profile in PROFILES.items())
    parser = Parser(
        description=description,
        epilog=f"profiles:\n{profiles}\n\nYAML keys have the names of the flags, with _ for -.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--out", metavar="DIR", help="folder of the study; runs/phase2 or the next free if left out")
    parser.add_argument("--config", metavar="FILE.yaml", help="settings from a file; flags win over it")
    add_flags(parser, _study_fields())
    add_flags(parser.add_argument_group("recipe (the same for all trials)"), Recipe.model_fields)
    return parser


def _read_yaml(path: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config {path} cannot be read: check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path} is no YAML: mend it") from error
    if not isinstance(content, dict):
        raise UserError(f"--config {path} holds {type(content).__name__}, but must hold `setting: value` lines")
    return {key: value for key, value in content.items() if key != PROVENANCE}
