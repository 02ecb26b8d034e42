"""The command in sidecars: what decides the results, and no place."""

import pytest

from nipype_group.cli.command_text import command_text
from nipype_group.cli.main import build_parser


def text_of(*words):
    arguments = build_parser().parse_args(words)
    return command_text(arguments.parser, arguments)


def test_places_and_execution_are_left_out(tmp_path):
    found = text_of(
        "run",
        f"{tmp_path}/out",
        "--bids",
        "/data/study",
        "--select",
        "stat=effect",
        "desc=a,b",
        "--formula",
        "age + C(sex)",
        "--contrast",
        "age=age",
        "--contrast",
        "b=sex[m]",
        "--permutations=100",
        "--plugin",
        "SLURM",
        "--plugin-args",
        '{"x": 1}',
        "--n-procs",
        "3",
        "--work-dir",
        "/scratch",
        "--shards",
        "4",
        "--memory-gb",
        "2",
        "--verbose",
        "--mask",
        "/m/mask.nii",
        "--statistics",
        "extent,mass",
        "--nonstationary",
        "--seed",
        "4",
    )
    assert found == (
        "nipype-group run OUT --bids DIR --select stat=effect desc=a,b --mask NII "
        "--formula 'age + C(sex)' --contrast age=age --contrast 'b=sex[m]' --nonstationary "
        "--permutations 100 --statistics extent,mass --seed 4"
    )


def test_the_text_is_a_command_that_means_the_same():
    words = (
        "run",
        "OUT",
        "--pattern",
        "x/{subject}.nii",
        "--formula",
        "1",
        "--contrast",
        "m=1",
        "--smooth",
        "5",
        "6",
        "7",
        "--height-control",
        "none",
        "--threshold-z",
        "3.1",
        "--blocks",
        "site,scanner",
    )
    text = text_of(*words)
    assert text_of(*text.replace("'m=1'", "m=1").split()[1:]) == text


def test_a_file_that_tables_name_stands_by_its_name(tmp_path):
    atlas = tmp_path / "brain.nii.gz"
    atlas.write_bytes(b"")
    base = ("run", "o", "--maps", "m.tsv", "--formula", "1", "--contrast", "m=1", "--atlas")
    assert text_of(*base, str(atlas)).endswith("--atlas brain.nii.gz")
    assert text_of(*base, "fsl:x", "aal").endswith("--atlas fsl:x aal")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("demo", "association", "out"), "nipype-group demo association OUT"),
        (("demo", "association", "o", "--null"), "nipype-group demo association OUT --null"),
    ],
)
def test_demonstrations(words, expected):
    assert text_of(*words) == expected
