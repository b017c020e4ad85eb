"""Training jobs of the running hub: what state a job may be in, the process that trains, and who starts and stops it."""
