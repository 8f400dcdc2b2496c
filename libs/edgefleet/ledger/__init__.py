"""Lots, positions, cash, fees and profit, in Decimal only. Knows nothing of streams, databases or clocks."""
