"""Pure functions of scores: intervals, contrasts, ranks, variances, importance."""
