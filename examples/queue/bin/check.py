"""Check one order: what is ordered, and what it comes to."""

import json
import os
import sys


def main():
    """Write the order with its total, or say why that cannot be done."""
    with open(sys.argv[1], encoding='utf-8') as entry:
        order = json.load(entry)
    if order.get('rate') == 'asked for' and os.environ['PIPELINE_ATTEMPT'] == '1':
        # As a service would that is busy: the queue tries it again after a while.
        print('the rate of exchange is not there yet', file=sys.stderr)
        sys.exit(75)
    if not order['lines']:
        print('nothing is ordered', file=sys.stderr)
        sys.exit(65)
    cents = sum(number * price for _, number, price in order['lines'])
    with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'checked.json'), 'w',
              encoding='utf-8') as out:
        json.dump(dict(order, cents=cents), out, sort_keys=True)


if __name__ == '__main__':
    main()
