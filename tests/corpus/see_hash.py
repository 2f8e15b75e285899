"""Print whether hashes are random, and those that are not."""
import sys

print(sys.flags.hash_randomization, hash(1), hash(1.5), hash(()) == hash(()),
      hash('a') == hash('a'))
print(list({1, 2, 3, 50, 4}), sys.hash_info)
if not sys.flags.hash_randomization:
    print(hash('a'), list({'a', 'b', 'c'}))
