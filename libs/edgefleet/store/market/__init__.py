"""Market messages as typed Parquet that others read without us, and back in the order of the stream."""
