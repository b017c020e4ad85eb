"""What travels from hub to gateway: one file, described in FORMAT.md, packed and verified here."""
