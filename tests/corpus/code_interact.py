"""Ask for a console, with nobody there to type."""
import code
import sys

code.interact(banner='banner', local={'x': 1}, exitmsg='bye')
print(hasattr(sys, 'ps1'))
