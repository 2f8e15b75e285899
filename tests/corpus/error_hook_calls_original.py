"""Call the original hook from an own one, as many tools do."""
import sys

sys.excepthook = lambda kind, error, trace: (print('first mine'),
                                             sys.__excepthook__(kind, error, trace))
raise ValueError('shown as usual')
