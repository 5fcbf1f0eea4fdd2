"""Which trials are possible: a range per hyperparameter and a space per architecture, all of it plain data."""
