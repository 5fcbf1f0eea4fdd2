"""The faults: how each is injected into a study that runs, and how the check knows that it hit something."""

import random
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from driving import Driver, processes, send
from records import Key
from subject import Subject, age, find_worker, is_elsewhere, trial_folder

from analysis.logs.wandb_run import read_run

MARKS = {
    "-scoring-hung": "scoring hangs",
    "-scoring-full": "scoring out of memory, by itself",
    "-hung": "trial hangs",
    "-crowded": "trial out of memory, beside others",
}
"""What faults inside of trials and scorings leave beside the study's folder."""


def strike_worker(subject: Subject, driver: Driver, kind: str, number: int, found: tuple[Key, int] | None) -> None:
    """Sends a signal to a worker and waits until its trial has gone on with another one."""
    if found is None:
        subject.book(kind, False)
        return
    key, pid = found
    is_hit = send(pid, number)
    trial = subject.trials()[key]  # from now on, the worker reports no more
    where = "" if trial.outcome is None else ", at a trial's end"
    subject.book(f"{kind}{where}", is_hit, f"{key[0]} #{key[1]} after epoch {trial.epoch}")
    if is_hit and not where:
        driver.until(lambda: is_elsewhere(subject, key, pid, trial.epoch), f"{key[0]} #{key[1]} to go on elsewhere")
    driver.until(lambda: pid not in {process.pid for process in processes(driver.mark)}, f"the end of worker {pid}")


def kill_worker(subject: Subject, driver: Driver) -> None:
    """At any moment."""
    found = find_worker(subject, driver)
    time.sleep(subject.rng.uniform(0, 0.5))
    strike_worker(subject, driver, "worker SIGKILL", signal.SIGKILL, found)


def kill_ending_worker(subject: Subject, driver: Driver) -> None:
    """As soon as its trial has ended: all of it must be in the logs."""
    found = find_worker(subject, driver)
    if found is not None:
        key = found[0]
        driver.until(lambda: subject.trials()[key].outcome is not None, "the end of a trial", poll_seconds=0.01)
    strike_worker(subject, driver, "worker SIGKILL", signal.SIGKILL, found)


def kill_saving_worker(subject: Subject, driver: Driver) -> None:
    """While it writes a checkpoint: half of one stays behind."""
    kind, found = "worker SIGKILL in a checkpoint", find_worker(subject, driver)
    if found is None:
        subject.book(kind, False)
        return
    key, pid = found
    folder = trial_folder(subject, key)

    def is_caught() -> bool:
        """Stops the worker to look: the file may be whole by then."""
        if any(folder.glob(".*.partial")) and send(pid, signal.SIGSTOP):
            if any(folder.glob(".*.partial")):
                return True
            send(pid, signal.SIGCONT)
        return not folder.exists()

    is_saving = driver.until(is_caught, "a checkpoint being written", poll_seconds=0.001) and folder.exists()
    strike_worker(subject, driver, kind, signal.SIGKILL, found if is_saving else None)


def stop_worker(subject: Subject, driver: Driver) -> None:
    """It hangs, and answers nobody; the driver must replace it."""
    strike_worker(subject, driver, "worker SIGSTOP", signal.SIGSTOP, find_worker(subject, driver))


def kill_logger(subject: Subject, driver: Driver) -> None:
    """Kills W&B's own process of a worker; its trial goes on to its end there, and all of it must be in the logs."""
    found = find_worker(subject, driver)
    is_hit = found is not None and _kill_logger_of(driver, found[1])
    subject.book("wandb-core SIGKILL, worker's", is_hit, f"{found[0][0]} #{found[0][1]}" if found else "")
    if found is not None:
        driver.until(lambda: subject.trials()[found[0]].outcome is not None, "the end of a trial")


def kill_logger_of_driver(subject: Subject, driver: Driver) -> None:
    """Kills W&B's own process of the driver, which logs the selection and all that comes after."""
    driver.until(lambda: "validation: " in driver.tail(), "the selection")
    subject.book("wandb-core SIGKILL, driver's", _kill_logger_of(driver, driver.pid))


def _kill_logger_of(driver: Driver, parent: int) -> bool:
    loggers = [p for p in processes(driver.mark) if p.parent == parent and "wandb-core" in p.command]
    return bool(loggers) and send(loggers[0].pid, signal.SIGKILL)


def start_second_driver(subject: Subject, driver: Driver) -> None:
    """It must be refused and change nothing."""
    if not subject.goes_on(driver):
        subject.book("second driver", False)
        return
    before = _untouchable(subject.out)
    second = subject.start(is_first=subject.rng.random() < 0.5)
    second.wait(2)
    text = second.log.read_text(encoding="utf-8")
    is_hit = driver.is_running
    subject.book("second driver", is_hit, "refused")
    if is_hit and _untouchable(subject.out) != before:
        subject.outcome.broken.append(f"{subject.name}: a second driver changed the folder")
    if is_hit and not ("in use by" in text or "holds a study" in text):
        subject.outcome.broken.append(f"{subject.name}: a second driver was refused with these words: {text}")


def _untouchable(out: Path) -> Mapping[str, bytes]:
    """What only a driver changes that begins or ends."""
    names = ("study.yaml", ".lock", ".permit-*", "selection.json")
    return {path.name: path.read_bytes() for name in names for path in out.glob(name)}


def end_driver(subject: Subject, driver: Driver, number: int, num_epochs: int) -> None:
    """Sends a signal to the driver at a random moment after some epochs."""
    if subject.goes_on(driver, num_epochs):
        time.sleep(subject.rng.uniform(0, 0.5))
    is_hit = driver.send(number)
    driver.wait(0, -signal.SIGKILL if number == signal.SIGKILL else 130)
    subject.book(f"driver {signal.Signals(number).name}", is_hit, f"after {num_epochs} more epochs")
    subject.settle()


def kill_ray(subject: Subject, driver: Driver) -> None:
    """Kills Ray's own process of this machine, without which no worker starts; the driver must end by itself."""
    subject.goes_on(driver)
    raylets = [process for process in processes(driver.mark) if "/raylet/raylet " in process.command]
    is_hit = bool(raylets) and send(raylets[0].pid, signal.SIGKILL)
    code = driver.wait(0, 1)
    subject.book("Ray SIGKILL", is_hit and code != 0)
    subject.settle()


def kill_driver_at(subject: Subject, kind: str, point: str, *, is_first: bool = False, **environment: str) -> None:
    """Starts a driver that kills itself at a point of its own code."""
    driver = subject.start(is_first=is_first, DIES_AT=point, **environment)
    code = driver.wait(0, -signal.SIGKILL)
    subject.book(kind, code != 0, point)
    subject.settle()


def kill_starting_driver(subject: Subject, seconds: float, *, is_first: bool = False) -> None:
    """Kills a driver a short time after it was started."""
    driver = subject.start(is_first=is_first)
    time.sleep(subject.rng.uniform(0, seconds))
    is_hit = driver.send(signal.SIGKILL)
    driver.wait(0, -signal.SIGKILL)
    subject.book("driver SIGKILL while it starts", is_hit, f"after {age(driver):.1f} s")
    subject.settle()


def find_scorer(subject: Subject, driver: Driver, split: str) -> tuple[Path, int] | None:
    """A final model's scoring that runs: its mark and the process; None when the driver ended before."""
    found: list[tuple[Path, int]] = []

    def look() -> bool:
        found.clear()
        for path in subject.out.parent.glob(f"scoring-*-confirmation-*-{split}"):
            text = path.read_text(encoding="utf-8")
            done = path.with_name(path.name.replace("scoring-", "scored-", 1))
            if not done.exists() and text and Path(f"/proc/{text}").exists():
                found.append((path, int(text)))
        return bool(found)

    driver.until(look, f"a scoring on {split}", poll_seconds=0.02)
    return subject.rng.choice(found) if found else None


def strike_scorer(subject: Subject, driver: Driver, split: str, number: int) -> None:
    """Sends a signal to a worker that scores a final model, and waits until another one has it or had it."""
    kind, found = (
        f"worker {signal.Signals(number).name} while it scores on {split}",
        find_scorer(subject, driver, split),
    )
    is_hit = found is not None and send(found[1], number)
    subject.book(kind, is_hit, found[0].name if found else "")
    if found is not None and is_hit:
        path, pid = found
        driver.until(lambda: path.read_text(encoding="utf-8") not in ("", str(pid)), f"{path.name} by another worker")


def end_scoring_driver(subject: Subject, driver: Driver, split: str, number: int) -> None:
    """Sends a signal to the driver while a final model is scored."""
    found = find_scorer(subject, driver, split)
    time.sleep(subject.rng.uniform(0, 0.5))
    is_hit = found is not None and driver.send(number)
    driver.wait(0, -signal.SIGKILL if number == signal.SIGKILL else 130)
    subject.book(f"driver {signal.Signals(number).name} while it scores on {split}", is_hit)
    subject.settle()


def tear_checkpoint(subject: Subject) -> None:
    """Cuts the newest checkpoint of an open trial while nothing runs."""
    paths = [trial_folder(subject, key) / "newest.pt" for key, t in subject.seen.trials.items() if not t.outcome]
    found = [path for path in paths if path.exists()]
    for path in found:
        _cut(path, subject.rng)
    subject.book("newest checkpoint torn", bool(found), ", ".join(str(p.relative_to(subject.out)) for p in found))


def tear_log(subject: Subject, job_type: str) -> None:
    """Cuts the newest W&B file of the study, or of an open trial, while nothing runs."""
    is_found = False
    for path in sorted((subject.out / "wandb").glob("offline-run-*/run-*.wandb"), reverse=True):
        run = read_run(path, [])
        about = {} if run is None else run.config  # none where the kill came before anything was flushed
        trial = subject.seen.trials.get((about.get("run_arm", ""), about.get("trial", -1)))
        is_open = run is None or (trial is not None and trial.outcome is None)
        if is_open if job_type == "trial" else run is not None and run.job_type == job_type:
            _cut(path, subject.rng)
            is_found = True
            break
    subject.book(f"newest W&B file torn, of {'the study' if job_type == 'study' else 'a trial'}", is_found)


def _cut(path: Path, rng: random.Random) -> None:
    with path.open("r+b") as stream:
        stream.truncate(rng.randrange(max(1, path.stat().st_size)))


def count_inside(subject: Subject) -> None:
    """Books the faults inside trials by the traces that they left, in a study that is complete."""
    marks = [path.name for path in subject.out.parent.iterdir()]
    for mark in sorted(marks):
        for ending, kind in MARKS.items():
            if mark.endswith(ending):
                subject.book(kind, True, mark)
                break
    for (arm, number), trial in sorted(subject.seen.trials.items()):
        retry = trial.attributes.get("retry", {})
        if trial.outcome == "diverged":
            subject.book("trial diverges", True, f"{arm} #{number}")
        if retry.get("micro_batch_size"):
            subject.book("trial out of memory, by itself", True, f"{arm} #{number}")
