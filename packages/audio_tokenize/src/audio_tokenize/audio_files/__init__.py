"""Audio files as bytes: what they are by content, which parts of them hold sound, and whether they are whole."""
