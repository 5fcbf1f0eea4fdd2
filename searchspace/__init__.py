"""Which trials are possible: a range per hyperparameter and a space per architecture. Knows Optuna's distributions."""
