"""Write the JSON schema of models: ``python -m nipype_group.models.schema FILE``."""

import json
import sys
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from nipype_group.models.records import SOFTWARE, TOLD, StatsModel
from nipype_group.settings.files import settings_schema
from nipype_group.whole_files import replace_text


class _Schema(GenerateJsonSchema):
    # Editors need no hint of which alternative an object is.
    ignored_warning_kinds = {"skipped-choice", "skipped-discriminator"}


def model_schema_text() -> str:
    """Return the schema of the models that are read, as text."""
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **StatsModel.model_json_schema(schema_generator=_Schema),
        "title": "BIDS Stats Models that nipype_group reads",
    }
    schema["$defs"]["NodeModel"]["properties"]["Software"] = _software()
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _software():
    """Return the schema of settings of programs, of which ours have their bounds."""
    own = settings_schema()
    known = {name: about for name, about in own["properties"].items() if name not in TOLD}
    known.pop("$schema")
    return {
        "anyOf": [
            {
                "type": "object",
                "properties": {
                    SOFTWARE: {
                        "type": "object",
                        "properties": known,
                        "additionalProperties": False,
                    }
                },
                "additionalProperties": {"type": "object"},
            },
            {"type": "null"},
        ],
        "default": None,
        "description": "settings by program",
    }


if __name__ == "__main__":
    replace_text(sys.argv[1], model_schema_text())
