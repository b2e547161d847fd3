"""What a computation depends on beside weights and data: device, precision, seed, and the processes that share it."""
