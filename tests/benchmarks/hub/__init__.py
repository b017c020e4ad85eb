"""How fast the hub stores, answers and shows: `make bench-hub`."""
