"""How the hub is watched from outside: Prometheus figures, structured logs, the dashboard and alert rules for both.

The only folder that imports prometheus-client.
"""
