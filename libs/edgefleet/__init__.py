"""The edgefleet library: pure steps, messages, and the few packages that do I/O for them."""

__version__ = "0.1.0"
