"""What all command lines share: flags from the fields of a model, errors in one line, and exit codes."""

import argparse
import io
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from trainables.errors import UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_OUT_OF_TIME = 75
"""sysexits.h: try again later; what batch systems take as a wish to be queued again."""

Model = TypeVar("Model", bound=BaseModel)


class Parser(argparse.ArgumentParser):
    """Raises a `UserError` where argparse would print its usage and end the process."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse for whatever is wrong with the command line."""
        raise UserError(f"{message}: see --help")


def run(main: Callable[[], int]) -> NoReturn:
    """Ends the process with what `main` returns; a `UserError` is one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without these letters shows others in their place
            stream.reconfigure(errors="replace")
    try:
        code = main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        code = EXIT_USER_ERROR
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    sys.exit(code)


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
