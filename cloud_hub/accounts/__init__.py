"""Who may do what: roles, permissions, people, tokens, sessions. No HTTP here, and no SQL: see `cloud_hub.store`."""
