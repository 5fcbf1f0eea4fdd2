"""Writes the learning curves of a study's searches to a small file: points, IoU so far and seconds of its trials.

    python -m benchmarks.record runs/phase2 benchmarks/recorded/roofs.json

`python -m studies.simulate --recorded` and `benchmarks.search` read it. `benchmarks/recorded/roofs.json` is of

    python studies/phase2_tuning.py --data roofs --architectures unet_width16 unet:efficientnet_lite0@frozen \\
        --tiles 5 24 --trials 12 --sampler random --epochs 16 --grace-epochs 16 --stop-patience 16 --seeds 0 \\
        --no-test --window-px 96 --val-center-px 192 --draws-per-epoch 24 --batch-size 3 --schedule cosine \\
        --ema-decay 0.9 --precision bf16

whose tiles are those of the reference study: some 15 minutes on a core.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from studies.simulate.recording import Recording
from trainables.common.command import Parser, run


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="its folder")
    parser.add_argument("file", type=Path, help="what is written")
    options = parser.parse_args(arguments)
    Recording.read(options.study).write(options.file)
    return 0


if __name__ == "__main__":
    run(main)
