"""Count the words of a cleaned paper that are long enough to say something."""

import collections
import json
import os
import re
import sys


def main():
    """Write the counts as JSON, most frequent words first."""
    path = sys.argv[1]
    shortest = json.loads(os.environ['PIPELINE_PARAMS'])['shortest']
    with open(path, encoding='utf-8') as paper:
        words = re.findall(r'[a-z]+', paper.read().lower())
    counts = collections.Counter(word for word in words if len(word) >= shortest)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    stem = os.path.splitext(os.path.basename(path))[0]
    with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], stem + '.json'), 'w',
              encoding='utf-8') as out:
        json.dump({'words': len(words), 'counts': dict(ranked)}, out, indent=1)


if __name__ == '__main__':
    main()
