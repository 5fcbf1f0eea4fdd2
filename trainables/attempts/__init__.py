"""The attempts of the reference study, trained one at a time without Ray."""
