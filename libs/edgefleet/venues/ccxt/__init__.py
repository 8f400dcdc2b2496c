"""Any venue that ccxt.pro can watch: market data."""
