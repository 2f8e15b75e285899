"""Do something only when run as a script."""


def main():
    """Print."""
    print('runs as', __name__)


if __name__ == '__main__':
    main()
