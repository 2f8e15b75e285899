"""Count what the garbage collector knows."""
import gc

print(gc.get_freeze_count(), len(gc.get_objects()) > 3000)
