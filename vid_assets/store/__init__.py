"""The store: LanceDB tables with their schemas, row and partition caching, and the states of assets beside the data."""
