"""Turn the lines of all inputs into upper case; killed at any moment, it goes on where it was."""

import sys

from stagerunner.processor import Progress


def main():
    """Write `result.txt`."""
    with Progress() as progress:
        result = progress.open('result.txt')
        for line in progress.lines(sys.argv[1:]):
            result.write(line.upper())


if __name__ == '__main__':
    main()
