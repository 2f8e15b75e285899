"""Print that chance is chance, and a seed a seed."""
import os
import random
import secrets
import uuid

with open('drawn', 'a') as drawn:
    drawn.write('')
print(random.Random(5).random(), random.random() == random.random(), len(os.urandom(4)))
random.seed(7)
print(random.random(), random.sample(range(100), 5), uuid.uuid4() == uuid.uuid4(),
      len(secrets.token_hex(4)))
