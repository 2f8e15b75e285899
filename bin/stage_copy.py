"""Copy every input into the output folder, under its own name."""

import os
import shutil
import sys


def main():
    """Copy the files named on the command line."""
    for path in sys.argv[1:]:
        shutil.copyfile(path, os.path.join(os.environ['PIPELINE_OUTPUT_DIR'],
                                           os.path.basename(path)))


if __name__ == '__main__':
    main()
