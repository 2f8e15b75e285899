"""End with a tuple."""
import sys

sys.exit((3,))
