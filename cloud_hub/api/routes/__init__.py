"""The routes of `/api/v1`, by subject. They read parameters, ask the store, and hand on; no query stands here."""
