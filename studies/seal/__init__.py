"""The seal of the test tiles and the register of their openings."""
