"""Use contexts of decimals and variables."""
import contextvars
import decimal
import locale

variable = contextvars.ContextVar('variable', default=3)
print(decimal.getcontext(), decimal.Decimal(1) / 7)
decimal.getcontext().prec = 5
print(decimal.Decimal(1) / 7, variable.get(), len(contextvars.copy_context()))
print(locale.setlocale(locale.LC_NUMERIC), locale.format_string('%d', 12345, grouping=True))
