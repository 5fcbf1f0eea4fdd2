"""Pictures of what `python -m trainables.attention` wrote."""
