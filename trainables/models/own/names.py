"""Networks of a person's own files: what their functions are asked, and say of themselves."""

import functools
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import PurePath
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from trainables.common.errors import UserError
from trainables.models.architecture import ADAPTATIONS, ENCODER_LR_FACTOR, IMAGENET, Adaptation, Architecture
from trainables.models.composed.encoders import nearest
from trainables.models.own.files import NETWORKS, NetworkFile, known_file, split_name
from trainables.models.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

OWN = "own"
"""What a person's network starts from: whatever its function does."""

STRIDE = 32
"""Window sides must divide by it (px) where a function says nothing else."""


def own_architecture(name: str) -> Architecture:
    """The row of a network by its name for tables, such as `my_nets.py:build@staged`.

    Raises:
        ValueError: The file was not given, cannot be run or has no such function, or what it says of itself is wrong.
    """
    return _row(name, known_file(name))


@functools.cache
def _row(name: str, file: NetworkFile) -> Architecture:
    function_name, at, adaptation = split_name(name)[1].partition("@")
    pretrained = [one for one in ADAPTATIONS if one != "scratch"]
    if at and adaptation not in pretrained:
        raise ValueError(f"must end in its function's name, or in one of @{', @'.join(pretrained)}")
    module = _module_of(file)
    function = getattr(module, function_name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if callable(value)]
        raise ValueError(f"there is no function {function_name!r} in {file.path.name}{nearest(function_name, known)}")
    base = name.partition("@")[0]  # which its adaptations share
    recipe: dict[str, Any] = {} if b"decoder_dropout" in file.content else {"decoder_dropout": 0.0}
    if adaptation in ("staged", "full"):
        recipe["encoder_lr_factor"] = ENCODER_LR_FACTOR
    if (lr := _number(function, "lr", float)) is not None:
        recipe["lr"] = lr

    def build(spec: ModelSpec) -> "nn.Module":
        return _build(name, function, file, cast("Adaptation | None", adaptation or None), spec)

    return Architecture(
        name=name,
        track="cnn",
        build=build,
        stride=_number(function, "stride", int) or STRIDE,
        encoder=f"encoder of {base}" if adaptation else None,
        decoder=f"decoder of {base}" if adaptation else "",
        adaptation=cast("Adaptation", adaptation or "scratch"),
        needs_weights=bool(adaptation),
        normalisation=IMAGENET if adaptation else None,
        recipe=recipe,
        has_dropout="decoder_dropout" not in recipe,
        only_px=_number(function, "only_px", int),
        source=f"{NETWORKS}/{file.path.name} of the study, SHA-256 {file.digest[:12]}…",
        file_digest=file.digest,
    )


def _module_of(file: NetworkFile) -> ModuleType:
    """The file as a module, run once per process, under a name that nothing else has."""
    name = f"fewtile_network_{file.digest}"
    if name in sys.modules:
        return sys.modules[name]
    module = sys.modules[name] = ModuleType(name)
    module.__file__ = str(file.path)
    try:
        exec(compile(file.content, str(file.path), "exec"), module.__dict__)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception | SystemExit):
            raise
        alone = (
            ", and it must stand alone: files beside it cannot be imported" if isinstance(error, ImportError) else ""
        )
        raise ValueError(f"running the file raises {said(error, file)}{alone}") from error
    return module


def _number(function: Callable[..., Any], name: str, kind: type) -> Any:
    """The number above 0 that a function has as an attribute; None where it has none."""
    value: Any = getattr(function, name, None)
    is_right = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    if value is None or (is_right and value > 0):
        return value
    words = "a whole number" if kind is int else "a number"
    raise ValueError(f"its {name} must be {words} above 0, and is {value!r}")


def _build(
    name: str, function: Callable[..., Any], file: NetworkFile, adaptation: Adaptation | None, spec: ModelSpec
) -> "nn.Module":
    """What the function gives, with an encoder that stays as it is where the name says so.

    Raises:
        UserError: The function raises, or gives something else.
    """
    from torch import nn  # here: it takes a second or two

    try:
        network = function(spec)
    except (Exception, SystemExit) as error:
        raise UserError(f"{name} cannot be built: its function raises {said(error, file)}") from error
    if not isinstance(network, nn.Module):
        raise UserError(f"{name} gives {type(network).__name__}, but must give a torch.nn.Module")
    if adaptation:
        encoder = getattr(network, "encoder", None)
        if not isinstance(encoder, nn.Module):
            raise UserError(f"{name} gives a module without a module `encoder`: name it so, or leave @{adaptation} out")
        if adaptation == "frozen":
            _freeze(encoder)
    return network


def _freeze(encoder: "nn.Module") -> None:
    """Freezes an encoder for good: without gradients, and in eval mode whatever mode the model around it takes.

    It stays in checkpoints, so that they need no weights of the person's.
    """
    kind = type(encoder)
    frozen = type(kind.__name__, (kind,), {"train": lambda self, mode=True: kind.train(self, False)})
    encoder.requires_grad_(False)
    encoder.__class__ = frozen
    encoder.eval()


def said(error: BaseException, file: NetworkFile) -> str:
    """`RuntimeError: no such layer, in line 12 of my_nets.py`: an error of a person's code in one line."""
    words = re.sub(r"\s+", " ", str(error)).strip()[:200]
    frames = traceback.extract_tb(error.__traceback__)
    lines = [at.lineno for at in frames if PurePath(at.filename).name == file.path.name]  # wherever it was first run
    if isinstance(error, SyntaxError):
        words, lines = error.msg, [error.lineno]
    place = f", in line {lines[-1]} of {file.path.name}" if lines else ""
    return f"{type(error).__name__}{': ' if words else ''}{words}{place}"
