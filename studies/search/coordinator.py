"""Decides which trial runs next and which one stops, and writes every decision to the ledger. Knows no Ray.

Arms get equal allowances; each has its own sampler and its own ASHA ladder. A coordinator over a ledger that already
holds trials resumes it: ended trials are known, open ones are handed out again, and the ladders are rebuilt.
"""

from typing import Any

from optuna.trial import FrozenTrial

from studies.search.ladder import Ladder
from studies.search.memory_ledger import MemoryLedger
from studies.search.plans import Plan
from studies.search.trials import EpochReport, Outcome, Trial, TrialKey
from studies.settings.arms import Arm
from studies.spec import StudySpec
from trainables.common.chunks import chunk_sizes
from trainables.common.errors import UserError

MAX_LOSSES = 3
"""Workers that a trial may lose without ending one more epoch, before it counts as failed itself."""

LEAST_MICRO_BATCH = 2
"""Draws; batch norm cannot train on one."""


class Coordinator:
    """Hands out trials arm by arm and judges what they report.

    Args:
        spec: The study.
        ledger: Where every suggestion, value and decision is written, and what a study resumes from.
        plan: The arms and their trials; `extend` adds others.

    Raises:
        UserError: The ledger's trials are not those of this plan.
    """

    def __init__(self, spec: StudySpec, ledger: MemoryLedger, plan: Plan):
        self.spec, self.ledger, self.plan = spec, ledger, plan
        self.trials: dict[TrialKey, Trial] = {}
        self.ladders: dict[Arm, Ladder] = {}
        self._plans: dict[Arm, Plan] = {}
        self._by_arm: dict[Arm, list[Trial]] = {}
        self._waiting: list[Trial] = []
        self.extend(plan)

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Those that it has trials of, or will have."""
        return tuple(self._plans)

    def extend(self, plan: Plan) -> None:
        """Adds the arms of another plan of the same stage, and loads the trials that the ledger has of them.

        Open ones are handed out again in the order in which they began.

        Raises:
            UserError: The ledger's trials are not those of the plan.
        """
        open_trials: list[tuple[FrozenTrial, Trial]] = []
        for arm in plan.arms:
            self._plans[arm], self._by_arm[arm], self.ladders[arm] = plan, [], plan.ladder(arm)
            for row in self.ledger.trials(arm.name):
                trial = self._keep(self._load(arm, row))
                if trial.outcome is None:
                    open_trials.append((row, trial))
        open_trials.sort(key=lambda pair: pair[0].datetime_start or pair[0].number)
        self._waiting += [trial for _, trial in open_trials]

    def of_arm(self, arm: Arm) -> list[Trial]:
        """The arm's trials so far, by number."""
        return self._by_arm[arm]

    def allowance(self, arm: Arm) -> int:
        """How many trials the arm gets."""
        return self._plans[arm].allowance(arm)

    @property
    def num_planned(self) -> int:
        """Trials of all arms together, started or not."""
        return sum(self.allowance(arm) for arm in self.arms)

    @property
    def num_ended(self) -> int:
        """Trials that have an outcome."""
        return sum(trial.outcome is not None for trial in self.trials.values())

    @property
    def num_running(self) -> int:
        """Trials that workers have."""
        return sum(trial.is_running for trial in self.trials.values())

    @property
    def is_complete(self) -> bool:
        """Whether every allowance is spent and every trial ended."""
        return all(self.is_arm_complete(arm) for arm in self.arms)

    def is_arm_complete(self, arm: Arm) -> bool:
        """Whether the arm's allowance is spent and each of its trials ended."""
        trials = self.of_arm(arm)
        return len(trials) >= self.allowance(arm) and all(trial.outcome is not None for trial in trials)

    def next(self) -> Trial | None:
        """The next trial: one that was interrupted, else a new one of the arm with the fewest trials.

        None when there is none to hand out: every allowance is spent, though running trials may still be retried.
        """
        trial = self._waiting.pop(0) if self._waiting else self._add()
        if trial is not None:
            trial.is_running = True
        return trial

    def report(self, key: TrialKey, report: EpochReport) -> bool:
        """Records an epoch of a trial; True when the trial ends with it.

        An epoch counts once: its first record stands, and a repeated one is booked as lost cost.
        """
        trial = self.trials[key]
        if trial.outcome is not None:
            return True
        is_new = report.epoch > trial.epoch
        if not is_new:
            if not report.is_replayed:
                trial.lost_epochs += 1
                trial.lost_seconds += report.seconds
            if not report.ended:
                return False
        else:
            trial.epoch, trial.losses = report.epoch, 0
            trial.seconds += report.seconds
            if not report.best <= trial.best:  # a repeated epoch may have come out worse than its record
                trial.best, trial.best_epoch = report.best, report.best_epoch
        outcome, reason = self._judge(trial, report.ended)
        arm = trial.arm.name
        cost = {
            "seconds": trial.seconds,
            "lost": [trial.lost_epochs, trial.lost_seconds],
            "best_epoch": trial.best_epoch,
        }
        with self.ledger.transaction():
            self.ledger.note(arm, trial.number, "cost", cost)
            if is_new:
                self.ledger.report(arm, trial.number, trial.epoch, trial.best)
            if outcome is not None:
                self._end(trial, outcome, reason)
        return outcome is not None

    def fail(self, key: TrialKey, outcome: Outcome, reason: str, details: str = "") -> None:
        """Ends a trial that diverged or raised; it is never selectable."""
        trial = self.trials[key]
        if trial.outcome is None:
            self._end(trial, outcome, reason, {"details": details[-4000:]} if details else {})

    def interrupt(self, key: TrialKey) -> None:
        """Puts a trial that was interrupted between two epochs first in the queue; it counts as no loss."""
        trial = self.trials[key]
        if trial.is_running:
            trial.is_running = False
            self._waiting.insert(0, trial)

    def lose(self, key: TrialKey, reason: str) -> None:
        """Retries a trial whose worker was lost; fails it after `MAX_LOSSES` workers in one epoch."""
        trial = self.trials[key]
        if not trial.is_running:
            return
        trial.losses += 1
        if trial.losses >= MAX_LOSSES:
            self.fail(key, "failed", f"lost {trial.losses} workers in epoch {trial.epoch + 1}: {reason}")
            return
        self._retry(trial, reason)

    def out_of_memory(self, key: TrialKey, reason: str, *, has_company: bool) -> None:
        """Retries a trial that ran out of memory: first alone on its device, then in ever smaller micro-batches.

        Args:
            key: The trial's.
            reason: What the device said.
            has_company: Whether other trials may have been on its device.
        """
        trial = self.trials[key]
        if not trial.is_running:
            return
        if has_company and not trial.is_alone:
            trial.is_alone = True
            self._retry(trial, reason)
            return
        batch_size = trial.config.batch_size
        now = trial.micro_batch_size or batch_size
        smaller = max(LEAST_MICRO_BATCH, now // 2)
        if max(chunk_sizes(batch_size, smaller)) >= max(chunk_sizes(batch_size, now)):  # it would need as much again
            self.fail(key, "out of memory", reason)
            return
        trial.is_alone, trial.micro_batch_size = True, smaller
        self._retry(trial, reason)

    def selection(self, arm: Arm) -> Trial | None:
        """The trial that the plan selects among those of the arm that ran their course."""
        return self._plans[arm].best([trial for trial in self.of_arm(arm) if trial.outcome == "finished"])

    def _judge(self, trial: Trial, ended: str) -> tuple[Outcome | None, str]:
        """The outcome of a trial at its last epoch and the reason; None while it goes on."""
        ladder = self.ladders[trial.arm]
        ladder.record(trial.number, trial.epoch, trial.best)
        if ended:
            return "finished", ended
        if not ladder.goes_on(trial.number, trial.epoch):
            return "stopped", ladder.why(trial.epoch)
        return None, ""

    def _add(self) -> Trial | None:
        """A new trial of the arm with the fewest, written to the ledger; None when no allowance is left."""
        open_arms = [arm for arm in self.arms if len(self.of_arm(arm)) < self.allowance(arm)]
        if not open_arms:
            return None
        arm = min(open_arms, key=lambda a: len(self.of_arm(a)))
        number, plan = len(self.of_arm(arm)), self._plans[arm]
        point = plan.point(arm, number, self.ledger.trials(arm.name))
        config = plan.config(arm, number, point)
        attributes = {"signature": config.signature(), "config": config.model_dump_json()}
        added = self.ledger.add(arm.name, point, plan.space(arm), attributes)
        assert added == number, f"the ledger numbered {arm.name}'s trial {added}, not {number}"
        return self._keep(Trial(arm, number, config))

    def _keep(self, trial: Trial) -> Trial:
        self.trials[trial.key] = trial
        self._by_arm[trial.arm].append(trial)
        return trial

    def _retry(self, trial: Trial, reason: str) -> None:
        trial.is_running = False
        content = {
            "epoch": trial.epoch,
            "losses": trial.losses,
            "is_alone": trial.is_alone,
            "micro_batch_size": trial.micro_batch_size,
            "reason": reason,
        }
        self.ledger.note(trial.arm.name, trial.number, "retry", content)
        self._waiting.append(trial)

    def _end(self, trial: Trial, outcome: Outcome, reason: str, attributes: dict[str, Any] | None = None) -> None:
        trial.outcome, trial.reason, trial.is_running = outcome, reason, False
        cost = {
            "reason": reason,
            "epochs": trial.epoch,
            "seconds": round(trial.seconds, 3),
            "best_epoch": trial.best_epoch,
        }
        self.ledger.end(trial.arm.name, trial.number, outcome, trial.best, cost | (attributes or {}))

    def _load(self, arm: Arm, row: FrozenTrial) -> Trial:
        """A trial as the ledger has it."""
        attributes = row.user_attrs
        config = self._plans[arm].config(arm, row.number, row.params)
        if config.signature() != attributes["signature"]:
            raise UserError(
                f"trial {row.number} of {arm.name} has the signature {attributes['signature']} in the ledger, but "
                f"{config.signature()} by this version's defaults: resume with the version that began the study, or "
                "start in another folder"
            )
        trial = Trial(arm, row.number, config)
        for epoch, best in sorted(row.intermediate_values.items()):
            self.ladders[arm].record(row.number, epoch, best)
            if not best <= trial.best:
                trial.best, trial.best_epoch = best, epoch
            trial.epoch = epoch
        if cost := attributes.get("cost"):
            trial.seconds, (trial.lost_epochs, trial.lost_seconds) = cost["seconds"], cost["lost"]
            trial.best_epoch = cost["best_epoch"]  # a repeated one may have become it, which its value does not say
        if retry := attributes.get("retry"):
            trial.losses = retry["losses"] if retry["epoch"] == trial.epoch else 0
            trial.is_alone, trial.micro_batch_size = retry["is_alone"], retry["micro_batch_size"]
        if row.state.is_finished():
            trial.outcome, trial.reason = attributes["outcome"], attributes["reason"]
        return trial
