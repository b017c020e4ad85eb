"""HTTP: the REST API under /api/v1. The only folder that imports FastAPI."""
