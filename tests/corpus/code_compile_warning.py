r"""Hold what the compiler warns of."""
exec(compile(r"pattern = '\d'", 'inner.py', 'exec'))
print(pattern, 1 is 1)  # noqa: F821, F632
