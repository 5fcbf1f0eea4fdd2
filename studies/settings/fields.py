"""Types of single settings, and what becomes of what a person writes there."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from trainables.common.command import path_of
from trainables.models.own.files import check_one_file_per_name, take_file
from trainables.models.weights import encoder_of


def _weights_path(choice: str) -> str:
    """A choice of weights with `~` in its path as the home folder."""
    encoder = encoder_of(choice)
    return path_of(choice) if encoder is None else f"{encoder}={path_of(choice.removeprefix(f'{encoder}='))}"


Weights = Annotated[str, AfterValidator(_weights_path)]


def taken(name: Any) -> Any:
    """The name for tables of an architecture, which a person may have given as that of a function of his file."""
    return take_file(name) if isinstance(name, str) else name


def of_different_files(names: Any) -> Any:
    """The names, of which no two may be of one file."""
    check_one_file_per_name(name for name in names if isinstance(name, str))
    return names


Band = Annotated[str, Field(coerce_numbers_to_str=True)]  # YAML has numbers without quotes
