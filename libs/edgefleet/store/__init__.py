"""The books' database, the Parquet archive and the history that both make. Knows nothing of trading rules."""
