"""The base of every error that a user can cause or mend; its message is shown without a traceback."""


class ModelError(ValueError):
    """Something the model side was given cannot be used; the message says what, and what to do."""
