"""Ask a validator of the outside world about our JSON Schemas.

The test suite has a small checker of its own (`tests/json_schema.py`) and so needs no package.
Here both judge the same documents.  Run by `.ci/run`.
"""

import json
import random
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / 'src'), str(ROOT / 'tests')]

from jsonschema import Draft7Validator  # noqa: E402

from documents import made  # noqa: E402
from documents import valid_config  # noqa: E402
from documents import valid_pipeline  # noqa: E402
from json_schema import complaints  # noqa: E402
from stagerunner.blueprint import config_schema  # noqa: E402
from stagerunner.blueprint import pipeline_schema  # noqa: E402


def main():
    """Exit with 1 and a document as soon as the two differ."""
    rng = random.Random(500)
    counts = [0, 0]
    for schema, make in ((pipeline_schema(), valid_pipeline), (config_schema(), valid_config)):
        Draft7Validator.check_schema(schema)
        validator = Draft7Validator(schema)
        for document in made(rng, make, 500):
            text = json.dumps(document)
            # In Python's expressions a dollar matches before a last line break as well.
            if '\\n' in text:
                continue
            ours = not complaints(schema, document)
            if ours != validator.is_valid(document):
                sys.exit(f'jsonschema says {not ours}, tests/json_schema.py {ours}: {text}')
            counts[ours] += 1
    print(f'the checkers agree on {sum(counts)} documents, {counts[True]} of them valid')


if __name__ == '__main__':
    main()
