"""Every decoder that reads from the network, under random and mutated bytes."""
