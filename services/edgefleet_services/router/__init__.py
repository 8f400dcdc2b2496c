"""The router layer as a process. Holds no arithmetic: that is `edgefleet.ensemble`."""
