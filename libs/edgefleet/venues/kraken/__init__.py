"""Kraken spot: market data by WebSocket v2, and by v1 for what was recorded."""
