"""Blend, Kelly, value at risk, limits, and the one stage that makes an `Approved`."""
