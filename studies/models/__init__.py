"""Scores of the selected and of the final models."""
