"""Recipes at work: by name and scale, with data made for them, a whole family at a time, as one table."""
