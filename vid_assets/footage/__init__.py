"""Opening, probing and decoding of source files. Knows neither Dagster nor the tables."""
