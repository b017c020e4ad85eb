"""Archives that hosts without internet are installed from: made here, verified here and on the host.

One archive serves one kind of host (`kinds.toml`) on one platform: the locked wheels and our own, a flat apt
repository with all that the Debian packages need, an SBOM, checksums, and a signature by `ssh-keygen`, which every
Debian has before anything of ours is there.

May import: models.errors, the standard library, and packaging and cyclonedx in sbom.py alone. Runs in an environment
of its own (`make wheelhouse`), never on a hub.
"""
