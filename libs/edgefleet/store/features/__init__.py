"""Feature values for training and for now: one set of names, two places, no value before it was known."""
