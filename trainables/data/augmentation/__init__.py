"""Draws changed at random: on the CPU by Albumentations, or on the device by the same transforms for tensors."""
