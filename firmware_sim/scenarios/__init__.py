"""The built-in scenarios, one TOML file each. A package so that installations carry them."""
