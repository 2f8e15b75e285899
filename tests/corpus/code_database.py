"""Use a database, compression and a few other libraries in C."""
import array
import bz2
import datetime
import hashlib
import mmap
import sqlite3
import zlib

with sqlite3.connect('data.sqlite') as connection:
    connection.execute('create table t (x)')
    connection.executemany('insert into t values (?)', [(1,), (2,)])
print(connection.execute('select sum(x) from t').fetchall())
connection.close()
print(zlib.crc32(b'x'), bz2.decompress(bz2.compress(b'y')), hashlib.md5(b'z').hexdigest())
print(array.array('i', [1, 2]), datetime.date(2020, 2, 29), hashlib.new('sha512', b'').name)
with mmap.mmap(-1, 16) as memory:
    memory[:3] = b'abc'
    print(memory[:4])
