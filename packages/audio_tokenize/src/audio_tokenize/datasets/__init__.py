"""Datasets: from codes or texts to token datasets."""
