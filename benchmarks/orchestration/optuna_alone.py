"""A peer: `optuna.optimize` with TPE and a pruner, one trial after another in one process."""

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.orchestration.objective import DROPOUT, LR, flags_of, values
from trainables.common.command import run


def main() -> int:
    parser = flags_of(__doc__)
    parser.add_argument("--storage", choices=("sqlite", "journal"), required=True)
    options = parser.parse_args()

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", *LR, log=True)
        dropout = trial.suggest_float("decoder_dropout", *DROPOUT)
        value = 0.0
        for epoch, value in enumerate(values(lr, dropout, reports=options.reports, events=options.events), start=1):
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file = options.folder / "optuna"
    storage = (
        f"sqlite:///{file}.db" if options.storage == "sqlite" else JournalStorage(JournalFileBackend(f"{file}.log"))
    )
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=options.reports)
    study = optuna.create_study(storage=storage, direction="maximize", pruner=pruner)
    study.optimize(objective, n_trials=options.trials)
    return 0


if __name__ == "__main__":
    run(main)
