"""What hub, agents and sensor nodes agree on: the contract, the signal mathematics, the model families, the bundle.

May import: the standard library, numpy, msgspec. Nothing of edge_agent, cloud_hub or firmware_sim.
"""

__version__ = "0.1.0"
