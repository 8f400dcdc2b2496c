"""Files of others to market messages and into the archive."""
