"""Trains one attempt of the reference study by hand: `python -m trainables.fit --attempt 02 …`."""

from trainables.attempts.run import main
from trainables.common.command import run

if __name__ == "__main__":
    run(main)
