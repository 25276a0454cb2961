"""Trainings that can be compared: one recipe, one cell for each method and seed, and the statistics of the cells."""
