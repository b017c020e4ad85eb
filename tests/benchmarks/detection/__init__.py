"""Our bundle side by side with what one would otherwise pick, on the same features and the same splits."""
