"""Write the JSON schema of files of settings: ``python -m nipype_group.settings.schema FILE``."""

import json
import sys

from nipype_group.settings.files import settings_schema
from nipype_group.whole_files import replace_text


def schema_text() -> str:
    """Return the schema as text."""
    return json.dumps(settings_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    replace_text(sys.argv[1], schema_text())
