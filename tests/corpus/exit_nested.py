"""End deep inside."""


def leave(depth):
    """Go down, then out."""
    if depth == 0:
        raise SystemExit(4)
    try:
        leave(depth - 1)
    finally:
        print('left', depth)


leave(3)
