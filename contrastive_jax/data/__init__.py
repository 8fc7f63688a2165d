"""Sources of images, and the batches of a step."""
