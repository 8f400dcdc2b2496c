"""One interface to the streams, two buses behind it (Redis, memory), and the stage's loop. Knows no trading."""
