"""A BIDS Stats Model as records: read from JSON, with every error at its place.

The vocabulary is that of the specification 0.1.1 (https://bids-standard.github.io/stats-models).
A node of Level run is the first level: its package has made the maps, and what it says of time
series is not read here. All other nodes are of maps.
"""

import fnmatch
import itertools
import json
import math
import re
import sys
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from nipype_group.design.formula import formula_variables
from nipype_group.design.participants.map_covariates import covariate_names
from nipype_group.design.repeated_measures import split_formula
from nipype_group.json_files import read_json
from nipype_group.models.instructions import AnyInstruction, ModelRecord, Name
from nipype_group.models.places import MisplacedError, first_error, known_name
from nipype_group.settings.alternatives import alternatives_of
from nipype_group.settings.analysis import AnalysisSettings
from nipype_group.settings.files import ALTERNATIVES, current_settings
from nipype_group.settings.records import about_of
from nipype_group.stats.estimators import META_ANALYSIS
from nipype_group.whole_files import AnyPath

# What 1 in X is called.
INTERCEPT = "intercept"
SOFTWARE = "nipype_group"
# What combines maps by their variances where a model says meta and no more.
META_ESTIMATOR = META_ANALYSIS
# In the place of contrasts until the columns of the design are known.
UNKNOWN = ("unknown=[1]",)
# Settings that name contrasts or files.
_LATER = ("contrast_tails", "atlases", "blocks", "figure_anatomy")
LEVELS = ("run", "session", "subject", "dataset")
# Settings that the model itself tells.
TOLD = {
    "formula": "Model.Formula or Model.X",
    "within": "Model.Formula, as Error(participant_id/(a*b))",
    "between": "Model.Formula",
    "covariates": "Model.Formula or Model.X",
    "contrasts": "Contrasts",
    "missing_covariates": "Transformations",
    "combine": "a node of Level subject",
    "combine_weights": "a node of Level subject",
    "each": "GroupBy",
    "across_analyses": "the option --across-analyses",
}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?(/\d+)?")
_LONGEST_NUMBER = 60
_SHOWN = 20
_GLOB = re.compile(r"[*?\[\]]")
# A term of a formula that says whether there is an intercept.
_STATED = re.compile(r"(^|[+-])[01](?=$|[+-])")


def _lower(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


def _test(value: Any) -> Any:
    words = {"t": "t", "f": "F", "pass": "pass"}
    return words.get(value.casefold(), value) if isinstance(value, str) else value


def _variable(value: Any) -> Any:
    """Return a variable of X; 1 is the intercept."""
    is_one = (type(value) in (int, float) and value == 1) or value in ("1", "Intercept")
    return INTERCEPT if is_one else value


def _variables(value: Any) -> Any:
    items = value if isinstance(value, list) else [value]
    return [_variable(item) for item in items]


def _values(value: Any) -> Any:
    """Return the values of a filter as text, as names of files have them."""
    items = value if isinstance(value, list) else [value]
    plain = all(isinstance(v, (str, int, float)) and not isinstance(v, bool) for v in items)
    return [str(v) for v in items] if plain else value


def _rows(value: Any) -> Any:
    """Return weights as rows of numbers; a fraction may be text."""
    if not isinstance(value, list):
        value = [value]
    rows = value if value and all(isinstance(row, list) for row in value) else [value]
    return [[_weight(item) for item in row] for row in rows]


def _weight(value):
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER:
        text = value.replace(" ", "")
        if _NUMBER.fullmatch(text):
            number, _, divisor = text.partition("/")
            top, bottom = float(number), float(divisor or 1)
            if bottom and math.isfinite(top) and math.isfinite(bottom):
                return top / bottom
    if type(value) is int and abs(value) <= sys.float_info.max:
        return float(value)
    return value


_WEIGHT_SCHEMA = {"anyOf": [{"type": "number"}, {"type": "string"}]}
_LISTS = {"type": "array", "items": _WEIGHT_SCHEMA}
Weights = Annotated[
    list[list[float]],
    BeforeValidator(_rows),
    WithJsonSchema({"anyOf": [_LISTS, {"type": "array", "items": _LISTS}]}),
    Field(min_length=1),
]
_VARIABLE_SCHEMA = {"anyOf": [{"const": 1}, {"type": "string"}]}
VariableNames = Annotated[
    list[Name],
    BeforeValidator(_variables),
    WithJsonSchema({"anyOf": [{"type": "array", "items": _VARIABLE_SCHEMA}, _VARIABLE_SCHEMA]}),
    Field(min_length=1),
]
Values = Annotated[
    list[str],
    BeforeValidator(_values),
    WithJsonSchema({"anyOf": [{"type": "array"}, {"type": ["string", "number"]}]}),
    Field(min_length=1),
]
Entities = dict[str, Values]
Test = Annotated[Literal["pass", "t", "F"], BeforeValidator(_test)]
_ANY_CASE = BeforeValidator(_lower)
_OF_FIRST_LEVEL = (
    "is of time series: it belongs to the first level, whose package has made the maps; remove it "
    "here"
)


class ModelContrast(ModelRecord):
    """A weighted sum of the columns of a node's design."""

    refused_keys: ClassVar[dict[str, str]] = {"Type": "is no key here, did you mean Test?"}

    name: Name
    condition_list: VariableNames
    weights: Weights
    test: Test

    @model_validator(mode="after")
    def _fit(self):
        if re.search(r"[=\n\t]", self.name):
            raise MisplacedError(
                "Name", "has a = or a line break, which no name of a contrast has"
            )
        if len(set(self.condition_list)) < len(self.condition_list):
            raise MisplacedError("ConditionList", "names a condition twice; add its weights")
        for number, row in enumerate(self.weights):
            if len(row) != len(self.condition_list):
                which = f"row {number + 1} " if len(self.weights) > 1 else ""
                raise MisplacedError(
                    "Weights",
                    f"{which}has {len(row)} numbers for {len(self.condition_list)} conditions; "
                    "give one of each",
                )
            if not any(row):
                raise MisplacedError(
                    "Weights", "are all 0, which tests nothing; give one that is not"
                )
        if len(self.weights) > 1 and self.test != "F":
            raise MisplacedError(
                "Weights",
                f"has {len(self.weights)} rows, which the Test {self.test} has not; write F, or a "
                "contrast for each row",
            )
        return self


class DummyContrasts(ModelRecord):
    """A contrast of every column that is named, or of all."""

    refused_keys: ClassVar[dict[str, str]] = {"Type": "is no key here, did you mean Test?"}

    contrasts: VariableNames | None = None
    test: Test


class Transformations(ModelRecord):
    """Steps that change the variables before the design is made of them."""

    transformer: Literal["pybids-transforms-v1"]
    instructions: list[AnyInstruction]

    @model_validator(mode="before")
    @classmethod
    def _are_an_object(cls, value: Any) -> Any:
        if isinstance(value, list):
            raise MisplacedError(
                "",
                'is a list; write {"Transformer": "pybids-transforms-v1", "Instructions": [...]}',
            )
        return value


class ModelOptions(ModelRecord):
    """Options of the estimation."""

    refused_keys: ClassVar[dict[str, str]] = dict.fromkeys(
        ("HighPassFilterCutoffHz", "LowPassFilterCutoffHz", "ReplaceVariables", "Aggregate"),
        _OF_FIRST_LEVEL,
    )

    mask: Entities | None = Field(None, description="entities of the mask among the derivatives")


class NodeModel(ModelRecord):
    """The model of a node."""

    refused_keys: ClassVar[dict[str, str]] = {
        "HRF": _OF_FIRST_LEVEL,
        "VarianceComponents": "is no part of the specification; write random effects in Formula, "
        "as (1 | participant_id), or name an estimator in Software.nipype_group",
        "ErrorDistribution": "is no part of the specification, and errors are normal here; remove "
        "it, or name a robust estimator in Software.nipype_group",
    }

    type: Annotated[Literal["glm", "meta"], _ANY_CASE]
    x: VariableNames
    formula: Name | None = None
    options: ModelOptions | None = None
    software: dict[str, dict[str, Any]] | None = None

    @field_validator("x")
    @classmethod
    def _are_apart(cls, names: list[str]) -> list[str]:
        for number, name in enumerate(names):
            if name in names[:number]:
                one = " (1 is the intercept)" if name == INTERCEPT else ""
                raise MisplacedError(f"[{number}]", f"{name} stands twice{one}; keep one")
        return names

    @model_validator(mode="after")
    def _hold(self):
        if self.formula is not None:
            _check_formula(self.formula, self.x)
        if self.software is not None:
            _check_software(self.own_settings, self.type, self.formula)
            if self.alternatives is not None:
                _check_alternatives(self.alternatives)
        return self

    @property
    def own_settings(self) -> dict[str, Any]:
        """Settings of this package, by name."""
        values = dict((self.software or {}).get(SOFTWARE, {}))
        values.pop(ALTERNATIVES, None)
        return values

    @property
    def alternatives(self) -> Any:
        """Alternatives of these settings, as `alternatives_of` takes them; None where none are."""
        return (self.software or {}).get(SOFTWARE, {}).get(ALTERNATIVES)


def _check_formula(formula, names):
    """See that a formula is one, states its intercept, and is of the variables of X."""
    try:
        fixed, _, _ = split_formula(formula)
        used = formula_variables(fixed)
    except ValueError as error:
        raise MisplacedError("Formula", str(error)) from error
    if not states_intercept(fixed):
        raise MisplacedError(
            "Formula", "does not say whether there is an intercept; begin it with 1 + or 0 +"
        )
    for name in used:
        if not covered(name, names) and name != "participant_id":
            raise MisplacedError(
                "Formula", f"uses {name}, which X does not list{known_name(name, names)}; add it"
            )


def states_intercept(effects: str) -> bool:
    """Tell whether fixed effects of a formula say whether there is an intercept.

    Examples
    --------
    >>> states_intercept("1 + age"), states_intercept("C(a, levels=[0, 1])")
    (True, False)
    """
    bare = re.sub(r"`[^`]*`|\s", "", effects.strip().removeprefix("~"))
    while bare != (inner := re.sub(r"\w*\([^()]*\)|\[[^\[\]]*\]", "x", bare)):
        bare = inner
    return bool(_STATED.search(bare))


def covered(name: str, patterns: list[str]) -> bool:
    """Tell whether names or globs mean a variable.

    Examples
    --------
    >>> covered("group.b", ["group.*"]), covered("age", ["iq"])
    (True, False)
    """
    return any(name == p or (is_glob(p) and fnmatch.fnmatchcase(name, p)) for p in patterns)


def is_glob(name: str) -> bool:
    """Tell whether a name stands for several.

    Examples
    --------
    >>> is_glob("group.*"), is_glob("group")
    (True, False)
    """
    return bool(_GLOB.search(name))


def _check_software(values, kind, formula):
    try:
        values = current_settings(values, f"Software.{SOFTWARE}")
    except ValueError as error:
        raise MisplacedError(f"Software.{SOFTWARE}", str(error)) from error
    fields = AnalysisSettings.__dataclass_fields__
    known = [n for n, item in fields.items() if not about_of(item).of_machine and n not in TOLD]
    for name in values:
        place = f"Software.{SOFTWARE}.{name}"
        if name in TOLD:
            raise MisplacedError(place, f"is what {TOLD[name]} tells; remove it")
        if name not in known:
            raise MisplacedError(place, f"is no setting{known_name(name, known)}")
    # Contrasts are looked at with the design, and files where the model lies.
    values = {name: value for name, value in values.items() if name not in _LATER}
    if "map_covariates" in values:
        values["map_covariates"] = _names_of_covariates(values["map_covariates"])
    if kind == "meta":
        values = {"estimator": META_ESTIMATOR, **values}
    try:
        AnalysisSettings(**values, formula=formula, contrasts=UNKNOWN)
    except (ValueError, TypeError) as error:
        raise MisplacedError(f"Software.{SOFTWARE}", str(error)) from error


def _names_of_covariates(items):
    """Return the names of covariates that are maps, NAME=GLOB or NAME each."""
    place = f"Software.{SOFTWARE}.map_covariates"
    if not isinstance(items, (list, tuple)) or not all(isinstance(i, str) for i in items):
        raise MisplacedError(place, 'is a list of texts, as ["grey=anat/{subject}_gm.nii.gz"]')
    try:
        return covariate_names(items)
    except ValueError as error:
        raise MisplacedError(place, str(error)) from error


def _check_alternatives(listed):
    """See that alternatives vary settings that a model does not tell itself."""
    place = f"Software.{SOFTWARE}.{ALTERNATIVES}"
    try:
        found = alternatives_of(listed, {}, "")
    except ValueError as error:
        raise MisplacedError(place, str(error)) from error
    for name in dict.fromkeys(name for one in found for name in one.values):
        if name in TOLD:
            raise MisplacedError(
                place,
                f"varies {name}, which is what {TOLD[name]} tells; write a model for each, and "
                "give nipype-group multiverse several --model",
            )


class _AnyNode(ModelRecord):
    name: Name
    group_by: Annotated[list[str], BeforeValidator(lambda v: [v] if isinstance(v, str) else v)]
    contrasts: list[ModelContrast] | None = None
    dummy_contrasts: DummyContrasts | None = None

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str) -> str:
        if not re.search("[A-Za-z0-9]", name):
            raise MisplacedError("", "has no letter or digit, as names of files need; rename it")
        return name


class FirstLevelModel(ModelRecord):
    """A model of time series, which another package has fitted."""

    type: Any = None
    x: Any = None
    formula: Any = None
    hrf: Any = Field(None, alias="HRF")
    options: Any = None
    software: Any = None
    variance_components: Any = None
    error_distribution: Any = None


class FirstLevelNode(_AnyNode):
    """The first level: its maps are those of the derivatives."""

    level: Annotated[Literal["run"], _ANY_CASE]
    model: FirstLevelModel
    transformations: Any = None


class Node(_AnyNode):
    """A level of maps: session, subject or dataset."""

    level: Annotated[Literal["session", "subject", "dataset"], _ANY_CASE]
    model: NodeModel
    transformations: Transformations | None = None

    @property
    def is_group(self) -> bool:
        """Whether it is a node of the data set."""
        return self.level == "dataset"

    @model_validator(mode="after")
    def _has_contrasts(self):
        contrasts = self.contrasts or []
        if not contrasts and self.dummy_contrasts is None:
            raise MisplacedError("", "has neither Contrasts nor DummyContrasts; add one of them")
        if self.model.own_settings and not self.is_group:
            raise MisplacedError(
                f"Model.Software.{SOFTWARE}",
                "is of nodes of the data set, as what is below them are weighted sums of maps; "
                "move it there",
            )
        names = [contrast.name for contrast in contrasts]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise MisplacedError(
                    f"Contrasts[{number}].Name", f"{name} is another's too; rename one"
                )
        if self.model.formula is None:
            for place, name in self._conditions():
                if not covered(name, self.model.x):
                    raise MisplacedError(place, _no_variable(name, self.model.x))
        return self

    def _conditions(self) -> Iterator[tuple[str, str]]:
        for number, contrast in enumerate(self.contrasts or []):
            for at, name in enumerate(contrast.condition_list):
                yield f"Contrasts[{number}].ConditionList[{at}]", name
        if self.dummy_contrasts is not None:
            for at, name in enumerate(self.dummy_contrasts.contrasts or []):
                yield f"DummyContrasts.Contrasts[{at}]", name


def _no_variable(name, known):
    """Say of a condition that X does not have it."""
    factor, dot, _ = name.partition(".")
    for own in known:
        if dot and own.casefold() == factor.casefold():
            return (
                f"{name} is a level of {own}, and X takes no text; write the transformation "
                f"Factor of {own} before, and {own}.* in X"
            )
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    has = f"{', '.join(known[:_SHOWN])}{more}"
    return f"{name} is no variable of X{known_name(name, known)} (X has {has})"


class Edge(ModelRecord):
    """Contrasts of a node that are maps of another."""

    source: Name
    destination: Name
    filter: Entities | None = None


def _kind_of_node(value: Any) -> str:
    level = value.get("Level") if isinstance(value, dict) else None
    return "first" if isinstance(level, str) and level.casefold() == "run" else "maps"


AnyNode = Annotated[
    Annotated[FirstLevelNode, Tag("first")] | Annotated[Node, Tag("maps")],
    Discriminator(_kind_of_node),
]


class StatsModel(ModelRecord):
    """A BIDS Stats Model."""

    name: Name
    bids_model_version: Name = Field(alias="BIDSModelVersion")
    input: Entities | None = None
    nodes: list[AnyNode] = Field(min_length=1)
    edges: list[Edge] | None = None
    schema_place: str | None = Field(None, alias="$schema", description="for editors")

    @model_validator(mode="after")
    def _is_a_graph(self):
        names = [node.name for node in self.nodes]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise MisplacedError(
                    f"Nodes[{number}].Name", f"{name} is another's too; rename one"
                )
        for number, edge in enumerate(self.edges or []):
            for key, name in (("Source", edge.source), ("Destination", edge.destination)):
                if name not in names:
                    raise MisplacedError(
                        f"Edges[{number}].{key}",
                        f"{name} is no node{known_name(name, names)} (there are "
                        f"{', '.join(names)})",
                    )
        by_name = {node.name: node for node in self.nodes}
        for number, edge in enumerate(self.links):
            source, destination = by_name[edge.source], by_name[edge.destination]
            place = f"Edges[{number}]" if self.edges else f"Nodes[{number + 1}].Level"
            rise = LEVELS.index(destination.level) - LEVELS.index(source.level)
            if rise < 0 or edge.source == edge.destination:
                raise MisplacedError(
                    place,
                    f"leads from {edge.source} ({source.level}) to {edge.destination} "
                    f"({destination.level}): maps go upwards from run to dataset",
                )
            if destination.level == "run":
                raise MisplacedError(
                    place, f"leads to {edge.destination}, and a node of runs has no input"
                )
            if source.level == "dataset":
                raise MisplacedError(
                    place,
                    f"leads from {edge.source}, and results of a group are no maps of a node",
                )
        self._check_rounds()
        if not any(node.level == "dataset" for node in self.nodes):
            raise MisplacedError(
                "Nodes", "has no node of Level dataset, so there is no group; add one"
            )
        return self

    def _check_rounds(self):
        reached: dict[str, set[str]] = {edge.source: set() for edge in self.links}
        for edge in self.links:
            reached[edge.source].add(edge.destination)
        for name, next_ones in reached.items():
            seen, ahead = set[str](), set(next_ones)
            while ahead:
                at = ahead.pop()
                if at == name:
                    raise MisplacedError("Edges", f"lead from {name} back to it; remove one")
                if at not in seen:
                    seen.add(at)
                    ahead |= reached.get(at, set())

    @property
    def links(self) -> list[Edge]:
        """The edges; without any, nodes are a chain."""
        if self.edges:
            return self.edges
        pairs = itertools.pairwise(node.name for node in self.nodes)
        return [Edge.model_validate({"Source": a, "Destination": b}) for a, b in pairs]

    def place(self, node: str) -> str:
        """Return where a node stands in the file."""
        return f"Nodes[{[n.name for n in self.nodes].index(node)}]"


def read_model(path: AnyPath) -> StatsModel:
    """Read a BIDS Stats Model.

    Parameters
    ----------
    path : path
        JSON.

    Returns
    -------
    StatsModel

    Raises
    ------
    ModelFileError
        Naming the place in the file of the first thing that is wrong, and what to do.
    UnusableFileError
        Where the file is no JSON object.
    """
    content = json.loads(json.dumps(read_json(path, dict)))
    try:
        return StatsModel.model_validate(content)
    except ValidationError as error:
        raise first_error(error, content, path) from error
