"""What the assets of the curriculum's chain are called, before the name of their stage."""

TRAINING_SET, CHECKPOINT, EVALUATION = CHAIN = ("training_set", "checkpoint", "evaluation")
