"""Stands in for the sensor nodes: machines with faults, sensor boards with flaws, links, scenarios, replay.

May import: models, the standard library, numpy, paho-mqtt (link.py alone), typer and rich (cli.py). Never edge_agent
or cloud_hub.
"""
