"""The curves of a trial as TensorBoard reads them; whoever wants them says so by `--tensorboard`."""

from pathlib import Path

from trainables.records import EpochRecord

FOLDER = "tensorboard"
FLUSH_SECONDS = 5
"""Until an epoch can be seen."""


class Curves:
    """Writes a trial's metrics under `<out>/tensorboard/<arm>/<number>`.

    Args:
        out: The study's folder.
        arm: The trial's arm.
        number: Its number in the arm.
        epoch: The last epoch that it goes on from; what an earlier worker wrote of later ones is hidden.
    """

    def __init__(self, out: Path, arm: str, number: int, epoch: int):
        from tensorboardX import SummaryWriter  # here: few ask for it

        folder = out / FOLDER / arm / f"{number:04d}"
        self._writer = SummaryWriter(str(folder), purge_step=epoch + 1, flush_secs=FLUSH_SECONDS)

    def log(self, record: EpochRecord) -> None:
        """Adds an epoch."""
        for name, value in {"lr": record.lr, **record.metrics}.items():
            self._writer.add_scalar(name, value, record.epoch)

    def close(self) -> None:
        """Completes the file."""
        self._writer.close()
