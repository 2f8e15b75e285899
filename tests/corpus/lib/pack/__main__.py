"""What `python -m pack` runs."""

import sys

print('pack runs with', len(sys.argv), __name__, __package__)
