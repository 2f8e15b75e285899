"""Stop in the debugger, with nobody there to type."""
value = 3
breakpoint()
print('not reached' if value else '')
