"""The commands, one file each and thin: flags to settings, one call, what is printed. Imported only when asked for."""
