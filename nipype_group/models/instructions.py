"""The instructions of ``pybids-transforms-v1`` that are of a group, as records."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_pascal

from nipype_group.models.places import MisplacedError, known_name

# Names of keys that older models and other programs use.
_OLD_KEYS = {
    "Steps": "Nodes",
    "AutoContrasts": "DummyContrasts",
    "Conditions": "Contrasts",
    "Groupby": "GroupBy",
    "Inputs": "Input",
    "Outputs": "Output",
    "Wrt": "Other",
}


class ModelRecord(BaseModel):
    """An object of a model file: every key is known, and none is changed afterwards."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, alias_generator=to_pascal, allow_inf_nan=False
    )
    # Keys that are refused with a reason of their own.
    refused_keys: ClassVar[dict[str, str]] = {}

    description: str | None = Field(None, description="a comment")

    @model_validator(mode="before")
    @classmethod
    def _know_all_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            known = [str(item.alias) for item in cls.model_fields.values()]
            for key in value:
                if key in known:
                    continue
                if key in cls.refused_keys:
                    raise MisplacedError(key, cls.refused_keys[key])
                old = f", did you mean {_OLD_KEYS[key]}?" if _OLD_KEYS.get(key) in known else ""
                raise MisplacedError(
                    key,
                    f"is no key here{old or known_name(key, known)}"
                    + ("" if old or known_name(key, known) else f"; there are {', '.join(known)}"),
                )
        return value


def _listed(value: Any) -> Any:
    """Return a scalar as the list that is meant."""
    return [value] if isinstance(value, (str, int, float)) else value


_TEXT = {"type": "string"}
Names = Annotated[
    list[str],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [{"type": "array", "items": _TEXT, "minItems": 1}, _TEXT]}),
    Field(min_length=1),
]
Scalar = str | int | float
Name = Annotated[str, Field(min_length=1)]


def _single(value: Any) -> Any:
    """Return the only name of a list."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


OneName = Annotated[Name, BeforeValidator(_single)]


class Instruction(ModelRecord):
    """A step that changes the table of variables."""

    input: Names = Field(description="variables, globs or names of Group")


class _WithOutputs(Instruction):
    output: Names | None = Field(None, description="names of the results, one of each input")


class FactorStep(Instruction):
    """Indicators of the levels of a variable, in its place."""

    name: Literal["Factor"]
    constraint: Literal["none", "drop_one", "mean_zero"] = "none"
    ref_level: Scalar | None = None
    sep: str = "."


class ScaleStep(_WithOutputs):
    """Subtract the mean, divide by the standard deviation of n - 1."""

    name: Literal["Scale"]
    demean: bool = True
    rescale: bool = True
    replace_na: Literal["before", "after"] | None = Field(None, alias="ReplaceNA")
    group_by: Names | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_spelling(cls, value: Any) -> Any:
        # As pybids writes it.
        if isinstance(value, dict) and "ReplaceNa" in value and "ReplaceNA" not in value:
            value = {("ReplaceNA" if k == "ReplaceNa" else k): v for k, v in value.items()}
        return value


class DemeanStep(_WithOutputs):
    """Subtract the mean; Center is another name of it."""

    name: Literal["Demean", "Center"]
    group_by: Names | None = None


class ThresholdStep(_WithOutputs):
    """Keep values from a threshold on, 0 for the others."""

    name: Literal["Threshold"]
    threshold: float = 0
    binarize: bool = False
    above: bool = True
    signed: bool = True


class _Joining(Instruction):
    output: OneName = Field(description="name of the result")


class AndStep(_Joining):
    """1 where all inputs are other than 0."""

    name: Literal["And"]


class OrStep(_Joining):
    """1 where an input is other than 0."""

    name: Literal["Or"]


class NotStep(_WithOutputs):
    """1 where the input is 0, else 0."""

    name: Literal["Not"]


class ProductStep(_Joining):
    """Product of the inputs."""

    name: Literal["Product"]


class SumStep(_Joining):
    """Sum of the inputs, each times its weight."""

    name: Literal["Sum"]
    weights: list[float] | None = None


class CopyStep(Instruction):
    """The same variable under another name too."""

    name: Literal["Copy"]
    output: Names


class RenameStep(Instruction):
    """Another name in the place of the old one."""

    name: Literal["Rename"]
    output: Names


_VALUE = Literal["value", "amplitude"]


class ReplaceStep(_WithOutputs):
    """Other values for some; null is a missing one."""

    name: Literal["Replace"]
    replace: dict[str, Scalar | None]
    attribute: _VALUE = "value"


class SelectStep(Instruction):
    """Keep these variables alone."""

    name: Literal["Select"]


class DeleteStep(Instruction):
    """Remove variables."""

    name: Literal["Delete"]


class SplitStep(Instruction):
    """A variable for every cell of others: its values in the cell, 0 elsewhere."""

    name: Literal["Split"]
    by: Names


class FilterStep(Instruction):
    """Keep the maps of which a query holds."""

    name: Literal["Filter"]
    query: Name
    by: Names | None = None


class DropNAStep(Instruction):
    """Leave out maps that lack a value."""

    name: Literal["DropNA"]


class GroupStep(Instruction):
    """A name for several variables, for the Input of later instructions and X."""

    name: Literal["Group"]
    output: OneName


class AssignStep(Instruction):
    """The values of a variable in the place of those of another."""

    name: Literal["Assign"]
    target: OneName
    output: OneName | None = None
    input_attr: _VALUE = "amplitude"
    target_attr: _VALUE = "amplitude"


class OrthogonalizeStep(_WithOutputs):
    """What is left of a variable without its regression on others."""

    name: Literal["Orthogonalize"]
    other: Names


AnyInstruction = Annotated[
    FactorStep
    | ScaleStep
    | DemeanStep
    | ThresholdStep
    | AndStep
    | OrStep
    | NotStep
    | ProductStep
    | SumStep
    | CopyStep
    | RenameStep
    | ReplaceStep
    | SelectStep
    | DeleteStep
    | SplitStep
    | FilterStep
    | DropNAStep
    | GroupStep
    | AssignStep
    | OrthogonalizeStep,
    Field(discriminator="name"),
]
