"""An encoder that is never trained."""

import hashlib
from typing import Any

import torch
from torch import nn


class FrozenEncoder(nn.Module):
    """An encoder that stays as it is: in eval mode, without gradients, shared by copies, left out of state dicts.

    Attributes:
        inner: The encoder.
    """

    inner: Any

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner.requires_grad_(False)
        self._digest = ""
        self.register_state_dict_post_hook(_leave_out)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(_not_missing)  # type: ignore[no-untyped-call]
        self.eval()

    def train(self, mode: bool = True) -> "FrozenEncoder":
        """Stays in eval mode, whatever mode the model around it takes."""
        return super().train(False)

    def __deepcopy__(self, memo: dict[int, Any]) -> "FrozenEncoder":
        """Itself: a moving average of the model needs no second copy of what never changes."""
        return self

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> Any:
        """The encoder's features of (N, C, H, W)."""
        return self.inner(x)

    @property
    def digest(self) -> str:
        """SHA-256 of the weights, by which checkpoints refer to them."""
        if not self._digest:
            sha = hashlib.sha256()
            for name, value in self.inner.state_dict().items():
                sha.update(name.encode())
                sha.update(value.cpu().contiguous().numpy().tobytes())
            self._digest = sha.hexdigest()
        return self._digest


def _leave_out(encoder: Any, state: dict[str, Any], prefix: str, _: dict[str, Any]) -> None:
    for key in encoder.inner.state_dict():
        del state[f"{prefix}inner.{key}"]


def _not_missing(encoder: Any, keys: Any) -> None:
    own = tuple(f"inner.{key}" for key in encoder.inner.state_dict())
    keys.missing_keys[:] = [key for key in keys.missing_keys if not key.endswith(own)]
