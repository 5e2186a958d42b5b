"""The story of a model under this deployment pattern, told on the laptop. Delete the folder when you know it."""
