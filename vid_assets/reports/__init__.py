"""Answers to questions about a home: what is stale, why, what would change. Nothing is written."""
