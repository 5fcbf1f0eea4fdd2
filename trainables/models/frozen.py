"""An encoder that is never trained, whose features of an image can be kept."""

import hashlib
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from trainables.models.features import FEATURES


class FrozenEncoder(nn.Module):
    """An encoder that stays as it is: in eval mode, without gradients, shared by copies, left out of state dicts.

    Attributes:
        inner: The encoder.
        keeps_features: Whether features are computed once for each image that it is evaluated on.
        keeps_in_training: Whether also for each that it is trained on; images are then encoded one by one, so that
            features do not depend on which others are in a batch, and which of these were kept.
    """

    inner: Any

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner.requires_grad_(False)
        self.keeps_features = self.keeps_in_training = False
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
        if not (self.keeps_features if torch.is_inference_mode_enabled() else self.keeps_in_training):
            return self.encode(x)
        parts = [FEATURES.get(self.digest, x[index : index + 1], self.encode) for index in range(len(x))]
        return tree_map(lambda *tensors: torch.cat(tensors), *parts) if len(parts) > 1 else parts[0]

    def encode(self, x: torch.Tensor) -> Any:
        """The features, computed; tensors of a batch of N in lists or tuples."""
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
