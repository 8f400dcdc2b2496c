"""The simulated venue as a process: Binance's REST and WebSocket over one exchange. Knows no other service."""
