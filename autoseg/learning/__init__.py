"""Parts shared by all trainers: batches, steps, optimizers, schedules, checkpoints, validation, time budget."""
