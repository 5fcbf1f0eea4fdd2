"""A peer: a fresh process for each trial, two side by side, which imports torch as a W&B sweep's agent has it do."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from benchmarks.orchestration.objective import flags_of, values
from trainables.common.command import run

NUM_SLOTS = 2


def main() -> int:
    parser = flags_of(__doc__)
    parser.add_argument("--lr", type=float, help="of the one trial that this process is")
    options = parser.parse_args()
    if options.lr is not None:
        import torch  # noqa: F401 - a trial would use it

        list(values(options.lr, 0.0, reports=options.reports, events=options.events))
        return 0
    command = [sys.executable, "-m", "benchmarks.orchestration.process_per_trial", *sys.argv[1:]]
    with ThreadPoolExecutor(NUM_SLOTS) as pool:
        list(
            pool.map(lambda n: subprocess.run([*command, f"--lr={1e-3 * (n + 1)}"], check=True), range(options.trials))
        )
    return 0


if __name__ == "__main__":
    run(main)
