"""What the published data sets share: their files, classes, masks and tiles."""
