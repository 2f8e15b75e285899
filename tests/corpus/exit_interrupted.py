"""Raise what Ctrl-C raises."""


def work():
    """Be interrupted."""
    raise KeyboardInterrupt


work()
