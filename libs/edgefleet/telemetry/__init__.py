"""Logs, metrics and health: every name declared once. Knows nothing of what a service does."""
