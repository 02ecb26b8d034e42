"""Write the JSON schema of models: ``python -m nipype_group.models.schema FILE``."""

import json
import sys

from pydantic.json_schema import GenerateJsonSchema

from nipype_group.models.records import StatsModel
from nipype_group.whole_files import replace_text


class _Schema(GenerateJsonSchema):
    # Editors need no hint of which alternative an object is.
    ignored_warning_kinds = {"skipped-choice", "skipped-discriminator"}


def model_schema_text() -> str:
    """Return the schema of the models that are read, as text."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **StatsModel.model_json_schema(schema_generator=_Schema),
        "title": "BIDS Stats Models that nipype_group reads",
    }
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    replace_text(sys.argv[1], model_schema_text())
