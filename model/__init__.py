"""The model side: VAE and text encoder backends, the training loop and its evaluation.

It knows neither the orchestrator nor the asset package: it runs anywhere from a training manifest and a recipe.
"""

import os

# Threads that wait for each other by spinning take the cores that they wait for, where other work shares them: on two
# busy cores a step took up to four times as long. OpenMP reads this when torch is imported, which is later.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
