"""What was left in modules that every interpreter has comes to its end as well."""
import codecs
import io
import os


class Loud:
    def __init__(self, text):
        self.text = text

    def __del__(self, write=os.write):
        write(1, self.text)


def writing(target):
    try:
        yield
    finally:
        target.write('the generator ended\n')


os.left = open('left.txt', 'w')
os.left.write('never flushed\n')
io.loud = Loud(b'loud in io\n')
codecs.loud = [Loud(b'loud in codecs\n')]
os.generator = writing(os.left)
next(os.generator)
