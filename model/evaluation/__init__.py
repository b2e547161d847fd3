"""What a checkpoint can do: its loss on held-out samples, what it generates, how that moves. Starts at `evaluate`."""
