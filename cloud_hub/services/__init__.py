"""What the hub does with its parts: each file puts some of them together into one job. No SQL, no HTTP, no terminal."""
