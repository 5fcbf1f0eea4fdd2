"""How a batch is split where memory has no room for it."""

import math


def chunk_sizes(num_draws: int, micro_batch_size: int | None) -> list[int]:
    """Sizes, as equal as can be, of the chunks that a batch is split into; one chunk if `micro_batch_size` is None.

    No chunk is larger than `micro_batch_size`, but for one of 3 where an odd batch is split at 2: a chunk of 1 would
    have no variance for a batch norm over 1×1 features.
    """
    if micro_batch_size is None:
        return [num_draws]
    num_chunks = max(1, min(math.ceil(num_draws / micro_batch_size), num_draws // 2))
    size, larger = divmod(num_draws, num_chunks)
    return [size + 1] * larger + [size] * (num_chunks - larger)
