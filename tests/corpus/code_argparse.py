"""Parse arguments wrongly."""
import argparse

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument('--needed', required=True)
parser.print_help()
parser.parse_args([])
