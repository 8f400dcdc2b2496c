"""Routing, merging and weighing of edges. Knows nothing of streams, sockets or clocks."""
