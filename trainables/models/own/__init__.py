"""Networks that a person wrote: a function of a file, by its name."""
