"""The hub: trains, checks, signs and ships models, and watches the fleet.

May import: models and the hub's libraries; TensorFlow in training/ alone, SQLAlchemy in store/ alone, FastAPI in api/
alone, tuf in trust/ alone, paho-mqtt in transport.py alone, amqtt in broker/ alone, typer and rich in cli/ alone,
cyclonedx in fleet/ alone. Never edge_agent or firmware_sim.
"""
