"""Published data sets to a folder of tiles, one file each, and the built-in demo tiles."""
