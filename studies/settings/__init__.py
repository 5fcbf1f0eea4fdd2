"""What a study may be asked for, and the arms that follow from it."""
