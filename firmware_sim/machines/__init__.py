"""What machines do: shafts, bearings, gears, impellers, slow process values. Pure functions of time and seeded draws.

Everything is generated in blocks of any size and comes out the same whatever the block size: what repeats is a function
of absolute time, what is random is drawn in order from a generator of its own, what rings on is carried over.
"""
