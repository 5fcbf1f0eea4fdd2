"""What single settings of a study may be."""
