"""The decision: rules and pods in, permissions out. Pure: no I/O, no clock, no randomness."""
