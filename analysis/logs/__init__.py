"""W&B logs in: files or a server, as pandas frames."""
