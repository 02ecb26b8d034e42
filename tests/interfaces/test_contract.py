"""What every interface promises, whatever it computes."""

import ast
import inspect
import subprocess
import sys
import textwrap

import pytest
from click.testing import CliRunner
from nipype.interfaces.base import BaseInterfaceInputSpec, File, TraitedSpec, traits
from nipype.scripts.cli import cli
from traits.trait_types import BaseTuple

from nipype_group import interfaces
from nipype_group._version import __version__
from nipype_group.interfaces.base import GroupInputSpec, GroupInterface

NAMES = sorted(interfaces.__all__)
# What traits itself keeps beside the metadata that Nipype reads.
KNOWN_METADATA = {"desc", "mandatory", "usedefault", "nohash", "extensions", "type", "copy"}
REFUSED_TRAITS = (traits.Union, traits.Either, traits.Instance, traits.Dict, traits.Any, BaseTuple)
LONGEST_RUN = 25


def specs(name):
    interface = getattr(interfaces, name)
    return {"input": interface.input_spec, "output": interface.output_spec}


def own_traits(spec):
    return spec().traits(transient=None)


def unknown_metadata(spec):
    return {
        f"{name}: {key}"
        for name, trait in own_traits(spec).items()
        for key in set(trait.__dict__) - KNOWN_METADATA
    }


def without_desc(spec):
    return [n for n, t in own_traits(spec).items() if not (t.desc or "").strip()]


def refused_traits(spec):
    found = []
    for name, trait in own_traits(spec).items():
        kinds = [trait.trait_type, *(t.trait_type for t in trait.inner_traits or ())]
        # Nipype's command line has no way to say no to a flag that is on.
        on = isinstance(kinds[0], traits.Bool) and trait.default
        if on or any(isinstance(k, REFUSED_TRAITS) for k in kinds):
            found.append(name)
    return found


class _FaultySpec(BaseInterfaceInputSpec):
    silent = File(exist=True, dec="a file")
    several = traits.Union(traits.Int, traits.Str, desc="two kinds")
    pair = traits.Tuple(traits.Int, traits.Int, desc="two numbers")
    on = traits.Bool(True, usedefault=True, desc="on by default")


def test_the_checks_find_planted_faults():
    assert unknown_metadata(_FaultySpec) == {"silent: exist", "silent: dec"}
    assert without_desc(_FaultySpec) == ["silent"]
    assert set(refused_traits(_FaultySpec)) >= {"several", "pair", "on"}


def test_every_public_interface_is_listed():
    defined = {
        name
        for name, value in vars(interfaces).items()
        if inspect.isclass(value) and issubclass(value, GroupInterface)
    }
    assert defined == set(NAMES)
    assert len(NAMES) == len(interfaces.__all__) >= 15


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", ["input", "output"])
def test_traits_are_described_and_plain(name, side):
    spec = specs(name)[side]
    assert without_desc(spec) == []
    assert unknown_metadata(spec) == set()
    assert refused_traits(spec) == []


@pytest.mark.parametrize("name", NAMES)
def test_specs_are_named_after_the_interface(name):
    interface = getattr(interfaces, name)
    assert issubclass(interface, GroupInterface)
    assert interface.input_spec.__name__ == f"_{name}InputSpec"
    assert interface.output_spec.__name__ == f"_{name}OutputSpec"
    assert issubclass(interface.input_spec, GroupInputSpec)
    assert issubclass(interface.output_spec, TraitedSpec)
    assert own_traits(interface.output_spec)


@pytest.mark.parametrize("name", NAMES)
def test_docstring_says_what_it_does_and_has_an_example(name):
    text = inspect.getdoc(getattr(interfaces, name))
    first = text.splitlines()[0]
    assert first.endswith((".", ";"))
    assert "\nExamples\n--------\n>>> " in text
    assert f">>> from nipype_group.interfaces import {name}" in text


@pytest.mark.parametrize("name", NAMES)
def test_run_interface_only_wires(name):
    """A shell reads, calls and writes; numerics and long bodies belong elsewhere."""
    source = textwrap.dedent(inspect.getsource(getattr(interfaces, name)._run_interface))
    function = ast.parse(source).body[0]
    statements = [n for n in ast.walk(function) if isinstance(n, ast.stmt)]
    assert len(statements) - 1 <= LONGEST_RUN
    assert isinstance(function.body[-1], ast.Return)


@pytest.mark.parametrize("name", NAMES)
def test_version_is_that_of_the_package(name):
    assert getattr(interfaces, name)().version == __version__


@pytest.mark.parametrize("name", NAMES)
def test_nipypecli_shows_help_of_every_input(name):
    result = CliRunner().invoke(cli, ["run", "nipype_group.interfaces", name, "-h"])
    text = result.output
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0
    for trait in own_traits(specs(name)["input"]):
        assert trait in text


@pytest.mark.parametrize("name", ["CollectMaps", "RunPermutations"])
def test_nipypecli_as_a_command(name):
    command = [sys.executable, "-c", "from nipype.scripts.cli import cli; cli()"]
    done = subprocess.run(
        [*command, "run", "nipype_group.interfaces", name, "-h"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"Run {name}" in done.stdout


def test_nipypecli_runs_an_interface(small_study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    maps = sorted(str(p) for p in small_study.rglob("*.nii.gz"))[:2]
    arguments = ["run", "nipype_group.interfaces", "GroupMask", *maps]
    result = CliRunner().invoke(cli, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    assert len(list(tmp_path.glob("GroupMask-*/mask.nii.gz"))) == 1


@pytest.mark.parametrize("name", NAMES)
def test_mandatory_inputs_are_asked_for_before_running(name):
    interface = getattr(interfaces, name)
    mandatory = [n for n, t in own_traits(interface.input_spec).items() if t.mandatory]
    if not mandatory:
        assert name == "CollectMaps"
        with pytest.raises(ValueError, match="one source of maps"):
            interface().run()
        return
    with pytest.raises(ValueError, match="requires a value for input"):
        interface().run()
