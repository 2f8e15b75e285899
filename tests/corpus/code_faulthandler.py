"""Switch the handler of faults on and off."""
import faulthandler
import sys

print(faulthandler.is_enabled())
faulthandler.enable()
print(faulthandler.is_enabled(), sys.flags.dev_mode)
faulthandler.disable()
