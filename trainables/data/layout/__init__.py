"""A folder of tiles as it lies on the disk: which files are tiles, dataset.json, and where tiles lie on the ground."""
