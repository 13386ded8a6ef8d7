"""Judges that ship with the package: light, modest, and at hand everywhere."""
