"""The monitor's process: what the fleet does, for people and programs. Decides nothing."""
