"""What becomes of the selected configurations: final models and their scores."""
