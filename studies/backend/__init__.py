"""Runs trials and scores models on Ray. The only room that imports Ray."""
