"""Demo footage that is rendered, not shipped: labelled scenes, good and bad, for `make demo` and for tests."""
