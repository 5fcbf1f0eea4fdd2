"""Architectures by name: any decoder of segmentation-models-pytorch over any encoder of its table or of timm."""
