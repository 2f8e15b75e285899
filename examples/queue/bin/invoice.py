"""Write the invoice of one order that was checked."""

import json
import os
import sys


def main():
    """Write a file with the name of the entry."""
    with open(sys.argv[1], encoding='utf-8') as checked:
        order = json.load(checked)
    name = os.environ['PIPELINE_ITEM_ID']
    lines = [f'{number} x {what} at {price / 100:.2f}' for what, number, price in order['lines']]
    with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], f'{name}.txt'), 'w',
              encoding='utf-8') as out:
        out.write('\n'.join([f'invoice {name} for {order["customer"]}', *lines,
                             f'total {order["cents"] / 100:.2f}']) + '\n')


if __name__ == '__main__':
    main()
