"""The models that edgefleet ships, one module each. The registry finds them here."""
