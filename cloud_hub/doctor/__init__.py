"""Examines a deployment and says what to mend: settings, files, keys, certificates, database, broker, mail."""
