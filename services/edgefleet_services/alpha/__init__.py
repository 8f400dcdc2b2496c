"""The alpha layer as a process. Holds no arithmetic: that is `edgefleet.alpha`."""
