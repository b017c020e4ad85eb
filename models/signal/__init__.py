"""What both sides compute: windows, features, quantise, score, calibrate, decide, diagnose. Pure numpy, no I/O."""
