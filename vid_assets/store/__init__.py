"""The store: LanceDB tables with their schemas, row and partition caching, and stage states beside the data."""
