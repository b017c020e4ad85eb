"""Signing: TUF metadata, wants, commands. The only folder that imports tuf."""
