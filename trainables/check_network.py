"""A person's own network is built and tried on a small image before anything starts."""

import torch

from trainables.checkpoints import build_model
from trainables.common.errors import UserError
from trainables.config import TrialConfig
from trainables.data.tiles import DatasetInfo
from trainables.data.windows import tried_px
from trainables.models.architecture import Architecture
from trainables.models.composed.names import get_architecture
from trainables.models.own.files import known_file
from trainables.models.own.names import said

TRIED_PX = 96
"""Side of the image that a network is tried on, or a little more where its stride needs that."""


def check_network(config: TrialConfig, info: DatasetInfo) -> None:
    """Builds a network as trials will, and refuses one that gives no logits of the image's size, or has no parameters.

    Raises:
        UserError: It does not work for these bands and classes.
    """
    row, name = get_architecture(config.architecture), config.architecture
    side_px = row.only_px or tried_px(TRIED_PX, row.stride)
    shape = (2, len(info.bands), side_px, side_px)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model = build_model(config, info, [0.0] * len(info.bands), [1.0] * len(info.bands)).eval()
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise UserError(f"{name} gives a module without a parameter to train: give it some")
        try:
            logits = model(torch.zeros(shape))
        except Exception as error:  # whatever a person's code raises
            about = said(error, known_file(name))
            raise UserError(f"{name} fails on an image of {shape} with {about}{_advice(row)}") from error
    needed = (2, info.num_outputs, side_px, side_px)
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != needed:
        given = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        advice = _advice(row) if isinstance(logits, torch.Tensor) and logits.shape[2:] != shape[2:] else ""
        raise UserError(f"{name} gives {given} for an image of {shape}, but must give logits of {needed}{advice}")


def _advice(row: Architecture) -> str:
    if row.only_px is not None:
        return ""
    return f": if it needs sides that another number than {row.stride} divides, set stride (README)"
