"""The processes of the fleet: settings, wiring and loops, with no arithmetic of their own."""
