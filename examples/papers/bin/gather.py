"""Make one page of all summaries, and a list of the papers in which a word is frequent."""

import json
import os
import sys


def main():
    """Write `digest.md` and `words.json`."""
    summaries = []
    for path in sys.argv[1:]:
        with open(path, encoding='utf-8') as summary:
            summaries.append(json.load(summary))
    summaries.sort(key=lambda summary: summary['title'])
    papers = {}
    for summary in summaries:
        for word in summary['frequent']:
            papers.setdefault(word, []).append(summary['paper'])
    folder = os.environ['PIPELINE_OUTPUT_DIR']
    with open(os.path.join(folder, 'digest.md'), 'w', encoding='utf-8') as digest:
        total = sum(summary['words'] for summary in summaries)
        digest.write(f'# {len(summaries)} papers, {total} words\n')
        for summary in summaries:
            digest.write('\n## {title}\n\n{key}\n'.format(**summary))
    with open(os.path.join(folder, 'words.json'), 'w', encoding='utf-8') as words:
        json.dump(papers, words, indent=1, sort_keys=True)


if __name__ == '__main__':
    main()
