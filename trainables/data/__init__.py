"""Tiles: read, checked, sealed, drawn and augmented."""
