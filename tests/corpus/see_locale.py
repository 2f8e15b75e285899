"""Print locale and zone."""
import locale
import time

print(locale.getpreferredencoding(), locale.setlocale(locale.LC_ALL),
      locale.localeconv()['decimal_point'])
print(time.tzname, time.timezone, time.daylight, time.strftime('%A %d %B', time.gmtime(0)))
print(locale.getlocale(), time.localtime(1e9)[:5], 'ä'.encode().decode(), sorted('bAa'))
