"""Put the messages of all accounts into one file, sorted by date."""

import json
import os
import sys


def main():
    """Write `messages.jsonl`."""
    messages = []
    for path in sys.argv[1:]:
        with open(path, encoding='utf-8') as account:
            messages += [json.loads(line) for line in account]
    messages.sort(key=lambda message: (message['Date'], message['Account']))
    with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'messages.jsonl'), 'w',
              encoding='utf-8') as out:
        for message in messages:
            out.write(json.dumps(message, sort_keys=True) + '\n')


if __name__ == '__main__':
    main()
