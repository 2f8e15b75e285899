"""Pickle a class of the script and load it again, here and in a fork."""
import copy
import os
import pickle


class Thing:
    """To be pickled."""

    def __init__(self, value):
        self.value = value


data = pickle.dumps(Thing(5), 2)
print(data)
print(pickle.loads(data).value, type(pickle.loads(data)) is Thing, copy.deepcopy(Thing(6)).value)
if os.path.exists('thing.pickle'):
    raise SystemExit('left over')
with open('thing.pickle', 'wb') as target:
    target.write(data)
