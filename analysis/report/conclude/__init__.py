"""The conclusions of a report: what to take, how many labels are needed, and the price."""
