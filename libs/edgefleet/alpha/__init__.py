"""Alpha models: market in, edges out. Knows nothing of streams, sockets or clocks."""
