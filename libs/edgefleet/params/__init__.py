"""Typed configuration from files to every service: validated whole, swapped whole, known by its hash."""
