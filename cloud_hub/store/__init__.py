"""Everything that the hub remembers: tables, migrations, writes and queries. The only folder that imports SQLAlchemy.

`Database` opens and migrates; `Writer` stores what came from gateways, exactly once; the `*_queries` modules read and
return the frozen dataclasses of `views`, which the API hands out as they are. Written for SQLite and PostgreSQL.
"""
