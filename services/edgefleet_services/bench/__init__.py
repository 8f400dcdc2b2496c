"""Benchmarks: the fleet's figures beside their floors, measured in the same run. Trades nothing, keeps nothing."""
