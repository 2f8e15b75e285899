"""Print the variables by which the process was started, whatever came later."""
with open('/proc/self/environ', 'rb') as variables:
    print(variables.read().split(b'\0'))
