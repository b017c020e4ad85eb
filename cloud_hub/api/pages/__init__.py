"""The pages that people use, drawn on the server. README.md here says how one is made.

A page asks the same functions as the API: reads from `cloud_hub.store`, writes through `cloud_hub.services`. It holds
no rule and no query of its own.
"""
