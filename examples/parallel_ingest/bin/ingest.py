"""Turn an exported mailbox into one JSON object per message.

A message is a few `Name: value` lines, an empty line and a text; a line of
three hyphens ends it.  The nap stands for a large mailbox.
"""

import json
import os
import sys
import time


def messages_of(text):
    """Yield each message as a dictionary."""
    for part in text.split('\n---\n'):
        head, _, body = part.strip().partition('\n\n')
        if head:
            message = dict(line.split(': ', 1) for line in head.splitlines())
            yield dict(message, Text=' '.join(body.split()))


def main():
    """Write `<job>.jsonl`."""
    job = os.environ['PIPELINE_JOB_NAME']
    with open(sys.argv[1], encoding='utf-8') as mailbox:
        messages = list(messages_of(mailbox.read()))
    time.sleep(json.loads(os.environ['PIPELINE_PARAMS'])['napSec'])
    with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], job + '.jsonl'), 'w',
              encoding='utf-8') as out:
        for message in messages:
            out.write(json.dumps(dict(message, Account=job), sort_keys=True) + '\n')


if __name__ == '__main__':
    main()
