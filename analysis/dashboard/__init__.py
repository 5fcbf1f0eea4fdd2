"""W&B's own views of a project with studies."""
