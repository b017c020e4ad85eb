"""Evaluating bundles on recordings, through the code that runs on a gateway. No TensorFlow."""
