"""Choose the sentence of a paper that holds most of its frequent words.

It stands for a program that asks a service with a quota: the runner lets so
many of these start in half a second as `pipeline_config.json` says.
"""

import json
import os
import re
import sys


def score(sentence, counts):
    """Return how much a sentence says: its words by their counts, once each."""
    words = set(re.findall(r'[a-z]+', sentence.lower()))
    return sum(counts.get(word, 0) for word in words) / (5 + len(words))


def main():
    """Write title, key sentence and the three most frequent words as JSON."""
    paper_path, words_path = sys.argv[1:]
    with open(paper_path, encoding='utf-8') as paper:
        title, *paragraphs = paper.read().splitlines()
    with open(words_path, encoding='utf-8') as words:
        found = json.load(words)
    sentences = re.split(r'(?<=\.) ', ' '.join(paragraphs))
    summary = {'paper': os.environ['PIPELINE_ITEM_ID'], 'title': title, 'words': found['words'],
               'frequent': list(found['counts'])[:3],
               'key': max(sentences, key=lambda sentence: score(sentence, found['counts']))}
    name = os.path.basename(words_path)
    with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], name), 'w',
              encoding='utf-8') as out:
        json.dump(summary, out, indent=1)


if __name__ == '__main__':
    main()
