"""`make bench-delivery`: what delivery costs, beside what one would otherwise do."""
