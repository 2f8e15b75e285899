"""Leave by a child of SystemExit that has its own ideas."""


class Leave(SystemExit):
    """With a code of its own."""

    code = 21


raise Leave('ignored')
