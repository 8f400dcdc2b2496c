"""The fleet's own steps driven by a tape or a record, in one process. Knows no server."""
