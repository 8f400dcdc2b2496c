"""Carries out what the order step committed: intents on disk first, then the bus, then the venue. Decides no order."""
