"""The hub's HTTP face: `/api/v1` and the pages for people. The only folder that imports FastAPI and uvicorn.

Routes and pages read parameters, ask `cloud_hub.services` and `cloud_hub.store`, and hand on. Every one of them names
what it takes to use it (`guard`, ACCESS.md); an application with one that does not is not made.
"""
