"""The migrations, in order. They import nothing of ours: they must read the same in ten years."""
