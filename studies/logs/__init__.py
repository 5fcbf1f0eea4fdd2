"""What a study logs: W&B runs and TensorBoard curves."""
