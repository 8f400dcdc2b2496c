"""Venues behind one interface: feeds, REST, user streams, tapes. Knows nothing of models, risk or the bus."""
