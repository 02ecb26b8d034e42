"""The README's Python blocks and its command on one's own data run as they stand."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from nipype_group.cli.main import build_parser, main

README = Path(__file__).parents[1] / "README.rst"


def blocks(language):
    text = README.read_text()
    found = re.findall(rf"^\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)", text, re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in found]


def command_with(word):
    """Return the arguments of the one command that has a word."""
    lines = [
        line
        for block in blocks("bash")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("nipype-group") and word in line
    ]
    assert len(lines) == 1
    return shlex.split(lines[0])[1:]


@pytest.fixture
def derivatives(small_study, tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    shutil.copytree(small_study, folder / "derivatives")
    monkeypatch.chdir(folder)
    return folder


def test_interfaces_block_prints_the_contrast(derivatives, capsys):
    exec(compile(blocks("python")[0], README, "exec"), {})
    assert '"Expression": "age"' in capsys.readouterr().out


def test_workflow_block_writes_results(derivatives):
    exec(compile(blocks("python")[1], README, "exec"), {})
    assert list((derivatives / "results/group").glob("*desc-permVoxelFWEBoth_peaks.tsv"))


def test_own_data_command_writes_results(derivatives, capsys):
    assert main([*command_with("--height-control fdr --permutations"), "--plugin", "Linear"]) == 0
    assert "12 maps of 12 participants are in" in capsys.readouterr().out
    assert list((derivatives / "results/group").glob("*contrast-difference_stat-t_statmap.nii.gz"))


def test_commands_of_a_year_later(derivatives, capsys):
    run = ["run", "results", "--bids", "derivatives", "--select", "stat=effect", "--atlas", "none"]
    run += ["--formula", "age", "--contrast", "age=age", "--plugin", "Linear"]
    assert main(run) == 0
    assert main([*command_with("replay"), "--plugin", "Linear"]) == 0
    assert "equal bit for bit" in capsys.readouterr().out
    shutil.copytree("results", "other_results")
    assert main(command_with("other_results")) == 0


def test_cluster_command_is_understood():
    arguments = build_parser().parse_args(command_with("SLURM"))
    assert (arguments.plugin, arguments.n_shards) == ("SLURM", 8)


def test_pictures_are_there():
    pictures = re.findall(r"^\.\. image:: (\S+)$", README.read_text(), re.MULTILINE)
    assert pictures
    assert all((README.parent / picture).is_file() for picture in pictures)
