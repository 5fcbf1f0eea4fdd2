"""The report: what it says, in which order, and how it is written."""
