"""The table of architectures, one file per family, and their pretrained weights."""
