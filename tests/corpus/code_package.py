"""Import packages of all kinds from beside the script."""
import pkgutil
import sys

import pack
import space.part
from pack import inner

print(pack.VALUE, inner.outer.BASE, pack.__path__, pack.__package__, inner.__package__,
      inner.__name__)
print(space.part.HERE, list(space.__path__), space.__spec__.loader is not None,
      space.__spec__.origin)
print(pkgutil.get_data('pack', 'outer.py')[:10],
      [found.name for found in pkgutil.iter_modules(pack.__path__)])
print([name for name in sys.modules if name.startswith(('pack', 'space'))])
