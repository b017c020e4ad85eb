"""How the database of one release becomes that of the next. Run by `Database.migrate`."""
