"""What was learnt: W&B logs in, tables, figures and the report out. Knows no torch and no Ray."""
