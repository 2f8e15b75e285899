"""Log to stderr, and through a handler for the end."""
import logging
import sys

logging.basicConfig(format='%(levelname)s %(name)s %(module)s %(funcName)s %(lineno)d %(message)s')
logging.getLogger('own').warning('a warning')
try:
    raise ZeroDivisionError('by hand')
except ZeroDivisionError:
    logging.exception('with a traceback')
logging.captureWarnings(True)
print(logging.getLogger().handlers, logging.lastResort, logging._srcfile, sys.stderr.name)
