"""The executor's process: the order stage and the gateway that carries out what it committed."""
