"""How a wanted change of position becomes one order: kind, price, size. Pure; knows nothing of an order's life."""
