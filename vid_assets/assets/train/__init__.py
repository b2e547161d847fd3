"""The curriculum: a training set, a checkpoint and an evaluation for each stage, and what they share."""
