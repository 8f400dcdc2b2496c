"""The `edgefleet` command: arguments in, one line or one JSON object out."""
