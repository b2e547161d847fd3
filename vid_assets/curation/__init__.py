"""From one decode of a source to judged clips: statistics, shots, scores, policy, duplicates. Knows no Dagster."""
