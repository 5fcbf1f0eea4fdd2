"""The memory that a trial takes on a GPU: traced on tensors that have a size and no content, so that it needs no GPU.

One training step and one prediction are run on fake tensors of the CPU, and the storages that are alive are added up.
Learning rate, augmentation and the weights of a loss change nothing. The batch, sides, bands and classes do, and so do
the loss (clDice of a small network keeps as much as the network) and whatever changes the network.
"""

import functools
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from trainables.checkpoints import build_model
from trainables.config import TrialConfig
from trainables.data.tiles import DatasetInfo
from trainables.data.windows import cut
from trainables.models.composed.names import get_architecture

DEVICE_GIB = 1.0
"""What a process takes on a GPU besides its tensors (GiB): CUDA's context, about half of it, and workspaces of cuBLAS
(two of 32 MiB on Hopper, by PyTorch's CublasHandlePool.cpp and CUDABlas.cpp) and of cuDNN; the sum is ours."""

IN_FLOAT32 = ("exp", "group_norm", "interpolate", "layer_norm", "norm", "normalize", "pow", "rsqrt", "softmax", "sum")
"""What autocast computes in float32 on GPUs, but not on CPUs, as far as networks call it. Source: PyTorch's lists of
autocast, as fake tensors of a GPU were seen to follow them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The most that tensors take at one time (GiB).

    Attributes:
        train_gib: In a training step.
        evaluate_gib: In the prediction of a tile by a model that is in training.
    """

    train_gib: float
    evaluate_gib: float

    @property
    def gib(self) -> float:
        """All that a trial takes on a GPU."""
        return DEVICE_GIB + max(self.train_gib, self.evaluate_gib)


class UntraceableError(Exception):
    """A network does what takes the content of a tensor; the message says what."""


def trace_memory(
    config: TrialConfig, info: DatasetInfo, *, train_px: int, tiles_px: Iterable[tuple[int, int]]
) -> Memory:
    """The memory of a trial on a GPU, with its encoder trained where it ever is. No random state changes.

    Args:
        config: Of the trial. The file of its weights is not needed.
        info: Bands and classes of the tiles.
        train_px: Side of a train tile, for a recipe without windows.
        tiles_px: Heights and widths of the tiles that are predicted, as a whole or by windows where they are large.

    Raises:
        UntraceableError: The network cannot be traced.
    """
    row, recipe = get_architecture(config.architecture), config.recipe
    only_px = row.only_side(small=recipe.small)
    seen = [cut(*sides, stride=row.stride, only_px=only_px, whole_px=row.whole_px).seen_px for sides in tiles_px]
    alike = {"tiles": 1, "lr": 1.0, "encoder_lr_factor": 1.0, "augmentation": "NONE", "init_seed": 0}
    alike |= {"folds": 0, "fixed_epochs": None}  # one network of a trial is on the device at a time
    alike |= {"weights": "none", "weights_digest": None}
    alike["decoder_dropout"] = 0.5 if config.decoder_dropout else 0.0  # any but 0 keeps another copy
    return _cached(
        config.model_copy(update=alike).model_dump_json(),
        info.model_dump_json(),
        recipe.window_px or train_px,
        max(seen, key=lambda sides: sides[0] * sides[1]),
    )


@functools.cache
def _cached(config: str, info: str, train_px: int, seen_px: tuple[int, int]) -> Memory:
    try:
        with torch.random.fork_rng(devices=[]):
            trial, tiles = TrialConfig.model_validate_json(config), DatasetInfo.model_validate_json(info)
            return _trace(trial, tiles, train_px, seen_px)
    except Exception as error:  # whatever libraries and people's own networks raise
        raise UntraceableError(str(error).strip().partition("\n")[0][:200] or type(error).__name__) from error


def _trace(config: TrialConfig, info: DatasetInfo, train_px: int, seen_px: tuple[int, int]) -> Memory:
    """Does what `TrainingState` and `evaluate` do, but for what takes no memory."""
    num_bands, loss = len(info.bands), config.loss_function
    with FakeTensorMode(allow_non_fake_inputs=True), StorageTracker() as tracker, _AsOnGpu():
        model = build_model(config, info, [0.0] * num_bands, [1.0] * num_bands).train()
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        kept = [torch.empty_like(parameter) for parameter in trained for _ in range(2)]  # Adam's two moments
        if config.recipe.ema_decay is not None:
            kept += [torch.empty_like(tensor) for tensor in model.state_dict().values()]
        images = torch.empty(config.batch_size, num_bands, train_px, train_px, dtype=torch.uint8)
        masks = torch.zeros(config.batch_size, train_px, train_px, dtype=torch.uint8)
        loss(_logits(model, images, config), masks).backward()  # type: ignore[no-untyped-call]
        train_bytes, tracker.peak = tracker.peak, tracker.now
        del images, masks
        model.eval()
        with torch.no_grad():  # not inference mode, in which modes see operations before they are taken apart
            logits = _logits(model, torch.empty(1, num_bands, *seen_px, dtype=torch.uint8), config).float()
            loss(logits, torch.zeros(1, *seen_px, dtype=torch.uint8))
        del kept
        return Memory(train_gib=train_bytes / 2**30, evaluate_gib=tracker.peak / 2**30)


def _logits(model: nn.Module, images: torch.Tensor, config: TrialConfig) -> torch.Tensor:
    pixels = (images.float() * 1.0).contiguous(memory_format=torch.channels_last)
    # On a GPU, `auto` is one of the two types of 16 bits
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.recipe.precision != "fp32"):
        logits: torch.Tensor = model(pixels)
    return logits


class StorageTracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that are alive, each once.

    Attributes:
        now: Their sum (bytes).
        peak: The largest that it was.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._alive: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        try:
            result = func(*args, **(kwargs or {}))
        except DataDependentOutputException:  # asked of a tensor without content: something counts, all are 0
            if args[0].dtype.is_floating_point or args[0].dtype == torch.bool:
                return args[0].dtype == torch.bool or 0.0
            raise
        except DynamicOutputShapeException:  # elements by a mask: at most all of them
            if func is not torch.ops.aten.index.Tensor or args[1][0].shape != args[0].shape:
                raise
            result = args[0].flatten().clone()
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive:
            return

        def remove(_: object) -> None:
            self.now -= size
            del self._alive[key]

        self._alive[key] = weakref.ref(storage, remove)
        self.now += size
        self.peak = max(self.peak, self.now)


class _AsOnGpu(TorchFunctionMode):
    """Autocast of a CPU with the number types of a GPU's: fake tensors of a GPU have no backward without its driver."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not torch.is_autocast_enabled("cpu") or getattr(func, "__name__", "") not in IN_FLOAT32:
            return func(*args, **kwargs)
        args, kwargs = tree_map_only(
            torch.Tensor, lambda x: x.float() if x.dtype == torch.bfloat16 else x, (args, kwargs)
        )
        with torch.autocast("cpu", enabled=False):
            return func(*args, **kwargs)
