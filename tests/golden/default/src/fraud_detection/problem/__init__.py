"""What is predicted, from what, with what, and how well: the room of whoever owns the model."""
