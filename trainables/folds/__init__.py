"""Cross-validation within the labels of a budget."""
