"""Print a hash that is random."""
print(hash('a'))
