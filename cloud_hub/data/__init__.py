"""Data to train and evaluate on: files of several formats become `Recording`s, with every doubt said aloud."""
