"""Memory of a training step: what is computed again instead of kept (`activation`), and what that takes (`plan`)."""
