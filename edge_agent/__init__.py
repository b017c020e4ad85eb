"""The agent on the gateway: takes frames, runs the bundle that the hub wants, reports what is going wrong.

May import: models, the standard library, numpy, msgspec, paho-mqtt (transport.py alone), tuf and securesystemslib
(trust_worker.py alone, in a process of its own), a TFLite runtime (runtime.py alone). Never cloud_hub.
"""
