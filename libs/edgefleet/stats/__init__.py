"""Online statistics of numbers. Knows nothing of markets, messages or streams."""
