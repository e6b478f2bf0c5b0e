"""What trainers.evaluate measures of a model and how it is told."""
