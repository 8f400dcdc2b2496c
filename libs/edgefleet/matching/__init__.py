"""One matching engine, and a simulated exchange for paper fills, replay and the venue. Knows no sockets, no clock."""
