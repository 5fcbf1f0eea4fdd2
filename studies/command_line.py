"""Command lines of the phases: a flag and a YAML key per field of spec and recipe, and errors in one line."""

import argparse
import difflib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from studies.earlier_study import check_same_source, keep_best, load_tuned
from studies.files.folder import has_study, load_frozen, load_settings
from studies.options import HANG_MINUTES, Options
from studies.profiles import PROFILES, PhaseName, ProfileName
from studies.settings.checks import check_phase
from studies.spec import StudySpec
from trainables.common.command import Parser, add_flags, is_list, path_of, validate
from trainables.common.errors import UserError
from trainables.config import Recipe
from trainables.models.own.files import of_same_copies
from trainables.models.weights import encoder_of

_SEARCHES = ("trials", "vary", "sampler", "grace_epochs", "reduction_factor")

NO_FLAGS: dict[PhaseName, tuple[str, ...]] = {
    "phase1_comparison": ("phase", "chosen", "bf16", "with_recipe", "subsets", "best", "folds", *_SEARCHES),
    "phase2_tuning": ("phase", "chosen", "bf16", "subsets", "best"),
    "phase3_data_budget": ("phase", "chosen", "bf16", "with_recipe", "fix", "recipe_point", "folds", *_SEARCHES),
}
"""Settings that say nothing in a phase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a command line asks for.

    Attributes:
        spec: The study.
        out: Its folder; None if left out.
        options: How to run it.
        is_dry_run: Whether only to say what would run.
        forecast_slots: Trials side by side that a dry run forecasts hours and disk for, 0 for as many as fit here; None
            forecasts nothing.
        price_per_hour: Of all machines together, for the forecast.
    """

    spec: StudySpec
    out: Path | None
    options: Options
    is_dry_run: bool = False
    forecast_slots: int | None = None
    price_per_hour: float | None = None


def read_command_line(argv: Sequence[str], *, phase: PhaseName, description: str) -> Request:
    """Reads flags over a YAML file over the profile's defaults; when resuming, over the frozen spec of the study.

    Phase 3 takes what `--from` chose and how that was trained before the file.

    Raises:
        UserError: A flag, key or value that is not allowed.
    """
    flags = vars(_parser(phase, description).parse_args(argv))
    out, tuned, is_dry_run = flags.pop("out", None), flags.pop("from", None), flags.pop("dry_run", False)
    forecast_slots, price_per_hour = _forecast(flags, is_dry_run=is_dry_run)
    options = Options(
        resume=flags.pop("resume", False),
        max_hours=_positive("--max-hours", flags.pop("max_hours", None)),
        hang_minutes=_positive("--hang-minutes", flags.pop("hang_minutes", None)) or HANG_MINUTES,
        strict_splits=flags.pop("strict_splits", False),
        reopen=flags.pop("reopen", ""),
    )
    settings = load_settings(flags.pop("config"))[0] if "config" in flags else {}
    file_out = settings.pop("out", None)
    path: Path | None = _out_of_file(file_out) if out is None else out
    if options.resume and path is None:
        raise UserError("--resume needs the folder of the study: add --out DIR")
    if options.resume and path is not None and has_study(path):
        settings = load_frozen(path)[0] | settings
    elif "seed" in flags:  # seeds of the file that followed from its own seed
        settings = {key: value for key, value in settings.items() if key not in ("subset_seed", "draw_seed")}
    if settings.setdefault("phase", phase) != phase:
        raise UserError(f"these settings are of {settings['phase']}: run studies/{settings['phase']}.py with them")
    if tuned is not None and "chosen" not in settings:
        settings = load_tuned(tuned, settings | flags) | settings
    settings |= flags
    begun = path if options.resume and path is not None and has_study(path) else tuned
    if begun is not None and "architectures" in settings:  # both go on from the copies
        settings["architectures"] = of_same_copies(settings["architectures"], begun)
    spec = make_spec(settings)
    check_phase(spec)
    is_default = "with_recipe" not in flags and PROFILES[spec.profile].defaults(phase).get("with_recipe", False)
    if spec.with_recipe and not spec.seeds and not is_default:
        raise UserError(
            "--seeds is 0, but --with-recipe trains the recipe as final models: give at least 1, or leave "
            "--with-recipe out"
        )
    if tuned is not None:
        check_same_source(spec, tuned)
    if spec.vary is not None and (idle := [name for name in _SEARCHES if name != "vary" and name in flags]):
        raise UserError(
            f"--{idle[0].replace('_', '-')} is about a search, but --vary makes none: leave one of them out"
        )
    return Request(
        spec=keep_best(spec),
        out=path,
        options=options,
        is_dry_run=is_dry_run,
        forecast_slots=forecast_slots,
        price_per_hour=price_per_hour,
    )


def _forecast(flags: dict[str, Any], *, is_dry_run: bool) -> tuple[int | None, float | None]:
    """The slots and the price of a forecast, taken out of the flags."""
    text, price = flags.pop("forecast", None), flags.pop("price_per_hour", None)
    if text is not None and not is_dry_run:
        raise UserError("--forecast is about a study that does not run yet: add --dry-run, or leave it out")
    if price is not None and text is None:
        raise UserError("--price-per-hour is for a forecast: add --dry-run --forecast, or leave it out")
    if text is not None and not text.isdecimal():
        raise UserError(f"--forecast is {text!r}, but must be a number of trials side by side, or nothing")
    return None if text is None else int(text), _positive("--price-per-hour", price)


def _out_of_file(text: Any) -> Path | None:
    """The study's folder where a YAML file names it."""
    if text is None:
        return None
    try:
        return Path(path_of(text if isinstance(text, str) else ""))
    except ValueError as error:
        raise UserError(f"out is {text!r} in the file of --config, but {error}") from error


def _positive(flag: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UserError(f"{flag} is {text!r}, but must be a number above 0")
    return value


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
    phase: PhaseName = settings.get("phase", "phase2_tuning")
    if not isinstance(name, str) or name not in PROFILES:
        raise UserError(f"--profile is {name!r}, but must be one of {', '.join(PROFILES)}")
    profile = PROFILES[name]
    defaults = profile.defaults(phase, varies=str(settings.get("vary") or "none") != "none")
    match settings.get("weights"):
        case [_, *_] as choices if all(encoder_of(str(choice)) for choice in choices):  # they add to the profile's
            settings["weights"] = [*defaults.get("weights", ()), *choices]
    study = defaults | {key: value for key, value in settings.items() if key in StudySpec.model_fields}
    seed = validate(StudySpec, study).seed
    recipe = {"subset_seed": seed, "draw_seed": seed} | profile.recipe
    if study.get("labels") is not None:  # final models have no val
        recipe["schedule"] = "cosine"
    recipe |= {key: value for key, value in settings.items() if key in Recipe.model_fields}
    return validate(StudySpec, study | {"recipe": validate(Recipe, recipe)})


def short(phase: PhaseName) -> str:
    """A phase's name as its folders have it: `phase2`."""
    return phase.partition("_")[0]


def default_folders(phase: PhaseName) -> Iterator[Path]:
    """`runs/phase2`, `runs/phase2-2`, …: where a study goes when no folder is given, the first that is free."""
    yield Path("runs") / short(phase)
    for number in itertools.count(2):
        yield Path("runs") / f"{short(phase)}-{number}"


def _study_fields() -> dict[str, FieldInfo]:
    return {name: field for name, field in StudySpec.model_fields.items() if name != "recipe"}


def _parser(phase: PhaseName, description: str) -> argparse.ArgumentParser:
    profiles = "\n".join(f"  {name:6} {profile.purpose}" for name, profile in PROFILES.items())
    grows = "--seeds" if "trials" in NO_FLAGS[phase] else "--trials and --seeds"
    parser = Parser(
        description=description,
        epilog=f"profiles:\n{profiles}\n\nYAML keys have the names of the flags, with _ for -.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help=f"folder of the study; runs/{short(phase)} or the next free if left out",
    )
    if phase == "phase3_data_budget":
        parser.add_argument(
            "--from", metavar="DIR", type=Path, help="folder of the finished study whose configurations to retrain"
        )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would run, how much and where, and run nothing"
    )
    parser.add_argument(
        "--forecast",
        nargs="?",
        const="0",
        metavar="SLOTS",
        help="with --dry-run: time a few steps of each architecture on this machine, and forecast hours and disk, with "
        "SLOTS trials side by side, or as many as fit here",
    )
    parser.add_argument("--price-per-hour", metavar="P", help="of all machines together, for --forecast")
    parser.add_argument("--config", metavar="FILE.yaml", type=Path, help="settings from a file; flags win over it")
    parser.add_argument(
        "--resume",
        action="store_true",
        help=f"resume the study in --out after whatever ended it; {grows} may grow, and --test be added",
    )
    parser.add_argument("--max-hours", metavar="H", help="stop cleanly after H hours; --resume continues")
    parser.add_argument(
        "--hang-minutes",
        metavar="M",
        help=f"replace the worker of a trial that begins no batch for M minutes ({HANG_MINUTES:g})",
    )
    parser.add_argument(
        "--strict-splits",
        action="store_true",
        help="refuse splits that share images, ground or places, which are noted otherwise",
    )
    parser.add_argument(
        "--reopen", metavar="WHY", help="look at test tiles again whose opening left no result; WHY is put on record"
    )
    add_flags(parser, {name: field for name, field in _study_fields().items() if name not in NO_FLAGS[phase]})
    add_flags(parser.add_argument_group("recipe (the same for all trials)"), Recipe.model_fields)
    return parser
