"""Write a paper with its title on the first line and each paragraph on one further line."""

import os
import sys


def main():
    """Clean the paper named on the command line."""
    path = sys.argv[1]
    with open(path, encoding='utf-8') as paper:
        paragraphs = [' '.join(part.split()) for part in paper.read().split('\n\n')]
    with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], os.path.basename(path)), 'w',
              encoding='utf-8') as out:
        out.writelines(paragraph + '\n' for paragraph in paragraphs if paragraph)


if __name__ == '__main__':
    main()
