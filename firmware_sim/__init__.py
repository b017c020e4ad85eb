"""Stands in for the sensor nodes: machines with faults, sensor boards with flaws, links, scenarios, replay.

May import: models, the standard library, numpy, msgspec, paho-mqtt (link.py alone), typer and rich (cli/). Never
edge_agent or cloud_hub.
"""
