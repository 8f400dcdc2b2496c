"""Binance Spot: market data, REST and user stream."""
