"""The ledger's process: books, archive, trimming. Holds no arithmetic."""
