"""Frames of results, and how they are printed."""
