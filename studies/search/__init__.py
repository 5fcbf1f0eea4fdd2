"""Which trial runs next and which one stops. Knows no Ray."""
