"""The params service: the single writer of the configuration. Knows when to change it; the library knows how."""
