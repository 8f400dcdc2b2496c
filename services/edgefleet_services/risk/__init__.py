"""The risk layer's process: settings, wiring and loop around the risk stage."""
