"""Cost of a training step: memory and work, counted without executing the step."""
