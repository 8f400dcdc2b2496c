"""Streaming features of one instrument. Knows nothing of models, streams or venues."""

from edgefleet.features.top import Features, Top

__all__ = ["Features", "Top"]
