"""Looking at people's files before training: what is in them, what is wrong with them, and how to train on them."""
