"""What one trial is: tiles, augmentation, architectures, loss, the fit loop, prediction.

Knows torch; no ray, optuna or wandb.
"""
