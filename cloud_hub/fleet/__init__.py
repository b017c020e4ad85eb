"""Archives that hosts without internet are installed from: made here, verified here and on the host.

One archive serves one kind of host (`kinds.toml`) on one platform: the locked wheels and our own, a flat apt
repository with all that the Debian packages need, an SBOM, checksums, and a signature by `ssh-keygen`, which every
Debian has before anything of ours is there.

Here, too, are the READMEs of the Ansible roles, written from what each role says of itself.

May import: models.errors, the standard library, packaging and cyclonedx in sbom.py alone, yaml in role_readme.py alone.
Runs in an environment of its own (`make wheelhouse`), never on a hub.
"""
