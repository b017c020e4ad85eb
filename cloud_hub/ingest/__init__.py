"""From the broker into the database: parsed once, stored once, receipted only after that.

`parse` is pure; `worker` is the one thread that stores; `assemble` makes files of captures; `rescoring` computes the
scores of evidence again. Imports paho only through `cloud_hub.transport` and SQL only through `cloud_hub.store`.
"""
