"""The training report: one HTML file with its plots inside. The only folder that imports matplotlib and jinja2."""
