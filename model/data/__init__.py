"""A training set as a run reads it: its members, the order that they come in, and their bytes. Read only."""
