"""Ingestion as a process: a venue connection into `market` and `beats`. What frames mean is the library's feed."""
