"""Alpaca, US stocks: market data."""
