"""Training runs: the loop, what a step computes, several processes, and what is kept of a run. Starts at `trainer`."""
