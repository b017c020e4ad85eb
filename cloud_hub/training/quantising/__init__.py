"""What the quantisation ladder is made of: conversion, ranges, equalisation, bias correction, fine-tuning, fidelity.

Everything works on the *calibrated float graph*: the network as the converter has already folded and fused it, still
in float, with the range of every activation beside it. Ranges, weights and biases can be changed there, and the last
step to int8 takes milliseconds, so that every rung differs in exactly what it says it differs in.
"""
