"""Coinbase: market data of the Exchange and of Advanced Trade."""
