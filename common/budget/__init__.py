"""Before a run: what compute buys, whether a run fits a device, how long it takes, whether more data would help."""
