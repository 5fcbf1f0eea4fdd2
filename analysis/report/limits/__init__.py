"""What limits a report: conditions that differ, what is missing, reopened, failed or small."""
