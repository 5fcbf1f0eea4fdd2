"""Where a pixel of an image looks, for `python -m analysis.attention` to draw."""
