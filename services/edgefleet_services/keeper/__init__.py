"""The keeper's process: in Docker Compose, starts again what was killed through Docker. Knows nothing of trading."""
