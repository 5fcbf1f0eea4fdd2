"""A study without training: the production search on made-up or recorded learning curves, on any number of GPUs."""
