"""Hosts that really boot: Debian 12 by debootstrap and systemd-nspawn, on a network without a way out, driven over ssh.

`python -m tests.fleet --help` leaves such machines running for a developer; `make test-fleet` proves the collection on
them. Needs root. Every machine is a process tree of its own and is gone when its fleet is.
"""
