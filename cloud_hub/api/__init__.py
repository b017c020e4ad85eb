"""The hub's HTTP face: `/api/v1` and one page for people. The only folder that imports FastAPI and uvicorn.

Reads only. There are no accounts yet, so the hub listens on loopback unless its settings say otherwise.
"""
