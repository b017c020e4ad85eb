"""Training jobs of the running hub: their states, the process that trains, and who starts and stops it."""
