"""Fail an assertion, unless assertions are off."""
assert __debug__
print('checked' if __debug__ else 'unchecked')
assert 1 == 2, 'one is not two'
