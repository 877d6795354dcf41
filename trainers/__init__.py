"""Trainers: they train the weights of a model from a plan and a fold."""
