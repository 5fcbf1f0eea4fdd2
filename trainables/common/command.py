"""What all command lines share: flags from the fields of a model, errors in one line, and exit codes."""

import argparse
import atexit
import difflib
import errno
import os
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from trainables.common.errors import UserError
from trainables.common.streams import make_last

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_OUT_OF_TIME = 75
"""sysexits.h: try again later; what batch systems take as a wish to be queued again."""

Model = TypeVar("Model", bound=BaseModel)


class Parser(argparse.ArgumentParser):
    """Raises a `UserError` where argparse would print its usage and end the process; knows `~` in paths."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.register("type", Path, path_argument)  # for every flag with type=Path

    def error(self, message: str) -> NoReturn:
        """Called by argparse for whatever is wrong with the command line."""
        raise UserError(f"{message}: see --help")


def run(main: Callable[[], int]) -> NoReturn:
    """Ends the process with the `exit_code` of `main`. Nobody who stops reading its output ends it.

    Exit handlers run, but Python does not take its modules apart, nor wait for threads that libraries left behind: that
    takes 1 s where torch was imported and 3 s after a study.
    """
    make_last()
    code = exit_code(main)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def exit_code(main: Callable[[], int]) -> int:
    """Returns what `main` returns; 2 for a `UserError`, which is one line on stderr, and 130 for Ctrl-C."""
    try:
        return main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def path_of(text: str) -> str:
    """A path as a person gave it, with `~` as the home folder: a shell leaves that alone behind a `=` and in YAML.

    Raises:
        ValueError: It can be none.
    """
    if not text or "\0" in text:
        raise ValueError("must be a path")
    path = os.path.expanduser(text)  # noqa: PTH111 - a Path would lose the ./ that a person wrote
    if path.startswith("~"):
        user = path[1:].partition("/")[0]
        raise ValueError(f"must be a path, and nobody here is called {user!r}: write ./{text} for what is called so")
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ValueError("must be a shorter path") from error
    return path


def did_you_mean(path: Path) -> str:
    """`, or did you mean runs/phase2` where a folder beside a missing one is called much alike; else nothing."""
    try:
        names = [other.name for other in path.absolute().parent.iterdir() if other.is_dir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1) if path.name not in names else []
    return f", or did you mean {path.with_name(close[0])}" if close else ""


def path_argument(text: str) -> Path:
    """The `type` of a flag that takes a path; a `Parser` has it for `type=Path`."""
    try:
        return Path(path_of(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"it is {text[:80]!r}, but {error}") from error


def add_flags(parser: argparse._ActionsContainer, fields: Mapping[str, FieldInfo]) -> None:
    """Adds a flag per field, named like it; values stay text until `validate`."""
    for name, field in fields.items():
        flag = flag_of(name)
        help_text = (field.description or "").replace("%", "%%")
        if field.annotation is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, help=help_text)
        elif is_list(field):
            parser.add_argument(flag, nargs="+", action="extend", metavar="VALUE", help=help_text)
        else:
            parser.add_argument(flag, metavar="VALUE", help=help_text)


def is_list(field: FieldInfo) -> bool:
    """Whether a field holds several values."""
    kinds = get_args(field.annotation) if get_origin(field.annotation) in (Union, types.UnionType) else ()
    return any(get_origin(kind) is tuple for kind in (field.annotation, *kinds))


def flag_of(name: str) -> str:
    """The flag of a field."""
    return f"--{name.replace('_', '-')}"


def validate(model: type[Model], values: Mapping[str, Any], *, flag: Callable[[str], str] = flag_of) -> Model:
    """The model of texts and values, where the word none leaves an option unset.

    Args:
        model: What to make.
        values: Of its fields, by name.
        flag: How a person gave the value of a field of that name.

    Raises:
        UserError: A value is not allowed; names its flag.
    """
    optional = {name for name, field in model.model_fields.items() if field.default is None}
    values = {k: None if k in optional and isinstance(v, str) and v.lower() == "none" else v for k, v in values.items()}
    try:
        return model.model_validate(values, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:  # of several fields together
            raise UserError(first["msg"].removeprefix("Value error, ")) from error
        name = [part for part in first["loc"] if isinstance(part, str)][-1]
        rule = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        raise UserError(f"{flag(name)} is {first['input']!r}, but {rule[0].lower()}{rule[1:]}") from error
