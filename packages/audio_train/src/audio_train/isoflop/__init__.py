"""Scaling laws from losses at equal compute."""
