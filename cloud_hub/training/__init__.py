"""From data to a checked bundle. The only folder that imports TensorFlow."""
