"""End with a text."""
import sys

print('printed')
sys.exit('the text')
