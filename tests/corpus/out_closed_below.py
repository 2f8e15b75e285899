"""Close the descriptor under the stream."""
import os

print('lost: it is in the buffer')
os.close(1)
