"""End with a number."""
import sys

sys.exit(3)
