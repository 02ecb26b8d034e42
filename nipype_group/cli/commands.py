"""The subcommands: their arguments, and the functions that carry them out.

A function is named, not imported: what it needs is loaded where it is used.
"""

from __future__ import annotations

import argparse

from nipype_group.choices import MAP_TYPES, P_SIDES, QUESTIONS
from nipype_group.cli.options import (
    add_execution,
    add_provenance,
    add_replace,
    add_setting,
    add_settings,
    add_settings_files,
    check_places_of_values,
    finite,
    option_group,
)
from nipype_group.cli.parser import CommandParser

_RUN_EXAMPLES = """\
examples:
  Correlation with a score, from BIDS derivatives, by FDR and by permutation:
    nipype-group run results --bids derivatives --select stat=effect suffix=statmap \\
        --formula "fluency + C(sex)" --contrast fluency=fluency --smooth 5 --permutations 5000

  One-sample test of SPM contrast images:
    nipype-group run results --pattern "first_level/{subject}/con_0001.nii" \\
        --formula 1 --contrast mean=intercept

  Two groups, with age as a covariate:
    nipype-group run results --pattern "first_level/{subject}/con_0001.nii" \\
        --participants participants.tsv --formula "C(group) + age" --contrast "groups=pairs(group)"

  Two conditions within subjects, from a table with participant_id, condition and map:
    nipype-group run results --maps maps.tsv --formula "C(condition) + C(participant_id)" \\
        --contrast "difference=words - pictures" --height-control none --threshold-z 3.1

  What a BIDS Stats Model says, from BIDS derivatives:
    nipype-group run results --bids derivatives --model model-groups_smdl.json

  Factors within and between participants, every effect on its own error:
    nipype-group run results --maps maps.tsv --within "stimulus,C(visit)" --between group

The same options behind nipype-group plan print what the run would do, and compute nothing.
The same command again goes on from what is done.
"""
_RUN_MODELS = """\
models, by a formula or in words (without --contrast every effect of the words is tested):
  one sample            --formula 1 --contrast mean=intercept
  two samples           --formula "C(group)" --contrast "difference=b - a"
                        --between group
  paired                --formula "C(condition) + C(participant_id)" --contrast "d=b - a"
                        --within condition
  regression            --formula "age + iq" --contrast age=age --contrast iq=iq
    in every group      --between group --covariates age,iq
  groups x conditions   --between group --within condition --covariates age
  trend over visits     --within visit, where visit is a number; "C(visit)" makes a factor of it
  age at each scan      --formula "age + C(participant_id)" --contrast age=age

Maps of one participant are rows of --maps, or sessions: covariates of sessions stand in the table
of maps, in --participants with a column session_id, or in sub-01/sub-01_sessions.tsv beside
participants.tsv.

A contrast is NAME=EXPRESSION over the columns of the design: intercept, a covariate's name,
factor[level] or, where it is unique, the level alone. It takes + - * / ( ) and fractions; names
with other signs stand in `backticks`. Rows joined by ; make an F contrast. In words, of means
that weigh all cells alike: F(a), F(a:b), pairs(a), pairs(a @ y - x), simple(a @ b=x).
"""
_MAPS_AND_MODEL = """\
(--maps TABLE | --bids DIR | --pattern GLOB | --stack 4D)
                        --formula F --contrast NAME=EXPR [options]"""
# What most studies need; the help of all options is long.
_COMMON = (
    "--maps",
    "--bids",
    "--pattern",
    "--stack",
    "--select",
    "--participants",
    "--formula",
    "--contrast",
    "--smooth",
    "--height-control",
    "--permutations",
    "--seed",
    "--atlas",
    "--plugin",
)
_PLAN_EXAMPLES = """\
examples:
  What a run would do; it takes the options of run:
    nipype-group plan --bids derivatives --select stat=effect suffix=statmap \\
        --formula "fluency + C(sex)" --contrast fluency=fluency --permutations 5000
"""
_INIT_EXAMPLES = """\
examples:
  From options, as those of run:
    nipype-group init model.json --bids derivatives --formula "age + C(group)" \\
        --contrast "groups=pairs(group)" --alpha 0.01

  From the record of a run:
    nipype-group init model.json --from results
"""
_COMMON_OF_MULTIVERSE = (
    "--settings",
    "--maps",
    "--bids",
    "--select",
    "--participants",
    "--mask",
    "--permutations",
    "--plugin",
    "--n-procs",
)
_MULTIVERSE_EXAMPLES = """\
examples:
  Smoothing, covariates and whom to leave out, in all combinations:
    nipype-group multiverse results --maps maps.tsv --participants participants.tsv \\
        --settings multiverse.json --permutations 5000

  where multiverse.json holds settings, as --save-settings writes them, and alternatives of some:
    {"contrasts": ["age=age"],
     "alternatives": {"smoothing_fwhm_mm": [4, 6, 8],
                      "formula": ["age", "age + C(sex)"],
                      "exclude": [[], ["mean_fd > 0.5"]]}}

The first of every list makes the alternative that the others are set beside. A choice of several
settings has a name: "model": {"plain": {"formula": "age"}, "robust": {"estimator": "huber"}}. A
list of objects, each with a name and settings, is taken as it is.
"""
_REPORT_USAGE = """\
nipype-group report DIR [--viewer] [--output FILE]
       nipype-group report DIR OUT [options]
       nipype-group report --stat-map NII OUT [options]"""
_COMMON_OF_REPORT = (
    "--viewer",
    "--stat-map",
    "--stat-type",
    "--dof",
    "--height-control",
    "--cluster-control",
    "--tail",
    "--atlas",
)
_REPORT_EXAMPLES = """\
examples:
  The page of a finished run again, with interactive viewers:
    nipype-group report results --viewer

  Results of SPM, thresholded by random field theory:
    nipype-group report spm_results report --height-control rft --cluster-control rft

  Results of randomise -o rand/age: its corrected p beside the false discovery rate:
    nipype-group report rand/age report --tail positive

  One map:
    nipype-group report --stat-map tmap.nii.gz report --stat-type t --dof 28

Results of FSL (FEAT, flameo, randomise), SPM, PALM, nilearn, FitLins, HALFpipe and AFNI are
recognised.
"""

_VIEW_EXAMPLES = """\
examples:
  A map of a run, and what survives in it:
    nipype-group view results --contrast age --output age.html
    nipype-group view results --contrast age --desc fdrBHBoth --surface --output survivors.html

  Any map:
    nipype-group view tmap.nii.gz --threshold 3.1
"""


def add_run(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the command that analyses."""
    parser = commands.add_parser(
        "run",
        help="run a group analysis",
        description="Run a group analysis: collect maps, fit, threshold, permute, report.",
        usage=f"%(prog)s OUT {_MAPS_AND_MODEL}",
        common=_COMMON,
        examples=_RUN_EXAMPLES,
        epilog=_RUN_MODELS,
    )
    parser.add_argument("output_dir", metavar="OUT", help="folder of the results, made if needed")
    _add_options_of_run(parser)
    parser.set_defaults(execute="nipype_group.cli.run:execute", parser=parser)


def add_multiverse(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the command that runs the alternatives of an analysis."""
    parser = commands.add_parser(
        "multiverse",
        help="run all alternatives of an analysis, and test them together",
        description="Run the alternatives of an analysis that a file of settings lists, what they "
        "have in common once: in how many each voxel survives, and how the effect of each cluster "
        "of the first depends on the choices (specification curve). With --permutations the "
        "largest z over all voxels and alternatives, under shuffles that they share, gives p that "
        "hold whichever alternative is picked.",
        common=_COMMON_OF_MULTIVERSE,
        examples=_MULTIVERSE_EXAMPLES,
    )
    parser.add_argument("output_dir", metavar="OUT", help="folder of the results, made if needed")
    option_group(parser, "settings").add_argument(
        "--settings",
        metavar="FILE",
        help="JSON with settings and alternatives; options go before settings that are not varied",
    )
    _add_maps(parser)
    _add_analysis(parser, alone=False)
    add_execution(parser)
    add_replace(parser)
    check_places_of_values(parser)
    parser.set_defaults(
        execute="nipype_group.cli.multiverse.command:execute", parser=parser, shuffles=None
    )


def add_plan(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the command that tells what a run would do."""
    parser = commands.add_parser(
        "plan",
        help="tell what a run would do, and write nothing",
        description="Tell what nipype-group run would do with the same options: who is in, the "
        "model and what is confounded, every contrast with the smallest effect that it detects, "
        "thresholds, permutations, memory and time. Tables and headers of the maps are read, and "
        "the voxels of three maps are counted; no statistic is computed and no file is written.",
        usage=f"%(prog)s [OUT] {_MAPS_AND_MODEL}",
        common=("--json", *_COMMON),
        examples=_PLAN_EXAMPLES,
    )
    parser.add_argument(
        "output_dir", metavar="OUT", nargs="?", help="that of the run; looked at, not written"
    )
    parser.add_argument(
        "--json", action="store_true", dest="as_json", help="print one JSON object"
    )
    _add_options_of_run(parser)
    parser.set_defaults(execute="nipype_group.cli.plan.analysis:execute", parser=parser)


def add_validate(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the command that tells what a model means."""
    parser = commands.add_parser(
        "validate",
        help="check a BIDS Stats Model, and print its designs",
        description="Check a BIDS Stats Model and print its nodes and contrasts; with --bids the "
        "maps, designs and contrasts of every analysis as nipype-group run --model would run it. "
        "What is wrong is one line that names the place in the file. Nothing is computed.",
    )
    parser.add_argument("model", metavar="MODEL", help="BIDS Stats Model, JSON")
    parser.add_argument("--bids", metavar="DIR", help="BIDS derivatives whose maps it is of")
    parser.add_argument(
        "--select",
        metavar="KEY=VALUE[,VALUE]",
        nargs="+",
        action="extend",
        default=[],
        help="entities of the maps in --bids, default stat=effect suffix=statmap",
    )
    parser.add_argument(
        "--variance-select",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="what tells the variances of the maps, beside --select; default stat=variance",
    )
    parser.add_argument("--participants", metavar="TSV", help="table of participants")
    parser.add_argument("--mask", metavar="NII", help="mask")
    parser.set_defaults(execute="nipype_group.cli.model:execute_validate")


def add_init(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the command that writes a model."""
    parser = commands.add_parser(
        "init",
        help="write a BIDS Stats Model of options, or of a run",
        description="Write the BIDS Stats Model of what options of nipype-group run ask for, or "
        "of what the record of a run says. Maps, design and contrasts of the model are compared "
        "with those of the options before it is written, and the command that runs it is printed. "
        "What the standard has no word for stands in Software.nipype_group; what a model cannot "
        "say is refused. Nothing is computed, and no file is replaced.",
        usage="%(prog)s MODEL --bids DIR --formula F --contrast NAME=EXPR [options]\n"
        "       %(prog)s MODEL --from RUN",
        common=("--from", "--bids", "--select", "--participants", "--formula", "--contrast"),
        examples=_INIT_EXAMPLES,
    )
    parser.add_argument("model_file", metavar="MODEL", help="JSON that is made")
    add_settings_files(parser, saves=False)
    source = _add_maps(parser)
    source.add_argument(
        "--from", metavar="RUN", dest="from_run", help="folder of a run, whose record is taken"
    )
    _add_analysis(parser)
    parser.set_defaults(execute="nipype_group.cli.init:execute", parser=parser)


def _add_options_of_run(parser: argparse.ArgumentParser) -> None:
    """Add all options of an analysis, which `run` and `plan` share."""
    add_settings_files(parser)
    _add_maps(parser)
    _add_analysis(parser)
    add_execution(parser)
    add_provenance(parser)
    add_replace(parser)
    check_places_of_values(parser)


def _add_maps(parser):
    """Add the options of where maps come from; returns the group of sources."""
    maps = option_group(parser, "maps (one of the four)")
    source = maps.add_mutually_exclusive_group(required=True)
    source.add_argument("--maps", metavar="TABLE", help="TSV with participant_id and map")
    source.add_argument("--bids", metavar="DIR", help="BIDS derivatives, with --select")
    source.add_argument("--pattern", metavar="GLOB", help="glob with {subject}, in quotes")
    source.add_argument("--stack", metavar="4D", help="4D image, a map a volume")
    maps.add_argument(
        "--select",
        metavar="KEY=VALUE[,VALUE]",
        nargs="+",
        action="extend",
        default=[],
        help="entities of the maps in --bids; several values make a condition column",
    )
    maps.add_argument(
        "--participants", metavar="TSV", help="table of participants; with --stack a row a volume"
    )
    maps.add_argument(
        "--variance-select",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="what tells the variances of the maps in --bids, beside --select, as stat=variance; "
        "for estimators that take them. In --maps they are a column variance",
    )
    maps.add_argument(
        "--variance-pattern",
        metavar="GLOB",
        help="with --pattern: glob of the variances, with the same names in braces",
    )
    maps.add_argument(
        "--variance-stack", metavar="4D", help="with --stack: 4D image of the variances"
    )
    maps.add_argument(
        "--map-covariate",
        metavar="NAME=GLOB|NAME=4D|NAME",
        action="append",
        default=[],
        help="repeatable: a covariate that is a map, as NAME=GLOB with {subject}, with --stack "
        "NAME=4D, with --maps NAME of a column; contrasts name it",
    )
    maps.add_argument("--mask", metavar="NII", help="mask; default: voxels present in every map")
    maps.add_argument(
        "--search-volume", metavar="MASK", help="mask of the voxels that inference searches"
    )
    return source


def _add_analysis(parser, alone=True):
    """Add the options of the settings of an analysis, and of files beside them.

    Alternatives of it have neither a report of their own, nor what a file says of one analysis.
    """
    from nipype_group.settings.analysis import AnalysisSettings

    model = option_group(parser, "model")
    design = model.add_mutually_exclusive_group()
    add_setting(design, AnalysisSettings.__dataclass_fields__["formula"])
    design.add_argument(
        "--design", metavar="TABLE", help="TSV with a column a regressor, FSL .mat"
    )
    if not alone:
        from nipype_group.settings.alternatives import NOT_OF_ALTERNATIVES

        design.add_argument(
            "--model",
            metavar="JSON",
            action="append",
            help="BIDS Stats Model of the maps in --bids, whose Software.nipype_group lists "
            "alternatives; repeatable: every model is a choice",
        )
        add_settings(parser, AnalysisSettings, without=("formula", *NOT_OF_ALTERNATIVES))
        return
    design.add_argument(
        "--model",
        metavar="JSON",
        help="BIDS Stats Model of the maps in --bids; it has the contrasts, and settings in its "
        "Software.nipype_group. Without --select: stat=effect suffix=statmap",
    )
    add_settings(parser, AnalysisSettings, without=("formula",))
    option_group(parser, "permutation").add_argument(
        "--shuffles", metavar="FILE", help="shuffles to use, a row each, as FSL's -P writes them"
    )


def add_demo(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the command that demonstrates."""
    listing = "\n".join(f"  {name:26}{question}" for name, question in QUESTIONS.items())
    parser = commands.add_parser(
        "demo",
        help="run a demonstration",
        description=f"Make demonstration data and analyse it:\n\n{listing}",
    )
    parser.add_argument("name", metavar="NAME", choices=list(QUESTIONS), help=", ".join(QUESTIONS))
    parser.add_argument("output_dir", metavar="OUT", help="results; the data go to OUT/data")
    parser.add_argument("--null", action="store_true", help="data without any effect")
    parser.add_argument(
        "--dataset",
        choices=("generated", "localizer"),
        default="generated",
        help="made-up data (default), or real maps, downloaded (association, paired_two_sample)",
    )
    from nipype_group.settings.figures import FigureSettings

    add_settings(parser, FigureSettings)
    add_execution(parser)
    add_provenance(parser)
    parser.set_defaults(execute="nipype_group.cli.demo:execute", parser=parser)


def add_report(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the command that reports."""
    parser = commands.add_parser(
        "report",
        help="report results of a run, or of another package",
        description="Write the report of a finished run again; or make thresholds, tables, "
        "figures and the report of results of another package in the folder OUT.",
        usage=_REPORT_USAGE,
        common=_COMMON_OF_REPORT,
        examples=_REPORT_EXAMPLES,
    )
    parser.add_argument(
        "results",
        metavar="DIR",
        nargs="?",
        help="results of a run; or of another package, or the start of their names in a folder",
    )
    parser.add_argument(
        "output_dir",
        metavar="OUT",
        nargs="?",
        help="of another package: folder of the report, a new data set",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="of a run: the page; default *_report.html in its folder"
    )
    _add_peer(parser)
    _add_single(parser)
    from nipype_group.settings.analysis import PeerSettings

    add_settings(parser, PeerSettings, without=("nonstationary",))
    add_execution(parser)
    add_replace(parser)
    defaults = vars(parser.parse_args([]))
    parser.set_defaults(
        execute="nipype_group.cli.report:execute", defaults=defaults, parser=parser
    )


def _add_peer(parser):
    peer = parser.add_argument_group("results of another package")
    peer.add_argument("--stat-map", metavar="NII", help="one statistic map, in the place of DIR")
    peer.add_argument(
        "--package",
        metavar="P",
        help="FSL, SPM, PALM, nilearn, FitLins, HALFpipe or AFNI, where a folder has results of "
        "several",
    )
    peer.add_argument(
        "--dof",
        metavar="DOF[,DOF]",
        type=_numbers,
        action="append",
        help="degrees of freedom that files do not state: one number for t, two for F; once for "
        "each where a folder has both",
    )


def _add_single(parser):
    single = parser.add_argument_group("with --stat-map")
    single.add_argument(
        "--stat-type",
        choices=tuple(MAP_TYPES),
        metavar="TYPE",
        help="where its header is silent: t, F or z; r, a correlation (with --dof); d, Cohen's "
        "(with --group-sizes); p, 1-p or logp, which is -log10 p, uncorrected (with --p-sides)",
    )
    single.add_argument(
        "--p-sides",
        choices=P_SIDES,
        help="sides that p looks at: one, that above 0, or two; of --corrected-p default one",
    )
    single.add_argument(
        "--sign-map",
        metavar="NII",
        help="map whose sign the z of two-sided p takes; default: that of --effect-map",
    )
    single.add_argument(
        "--group-sizes",
        metavar="N[,N]",
        type=_whole_numbers,
        help="of d: number of maps, or of those of both groups",
    )
    single.add_argument(
        "--corrected-p",
        metavar="[KIND=]NII",
        action="append",
        help="familywise p of the statistic, shown and thresholded at --alpha; KIND is vox, tfce, "
        "clustere or clusterm, where the name does not say it",
    )
    single.add_argument(
        "--corrected-scale",
        choices=("1-p", "p", "logp"),
        help="what it holds; default 1-p where the name has corrp, as FSL's",
    )
    single.add_argument("--mask", metavar="NII", help="voxels analysed; default: not 0 or NaN")
    single.add_argument("--effect-map", metavar="NII", help="effect, of t and z")
    single.add_argument("--variance-map", metavar="NII", help="its variance")
    single.add_argument(
        "--design", metavar="TABLE", help="FSL .mat, or TSV with a column a regressor"
    )
    single.add_argument("--name", metavar="C", help="name of the contrast")


def _numbers(text):
    return tuple(finite(item) for item in text.split(","))


def _whole_numbers(text):
    return tuple(int(item) for item in text.split(","))


def add_nidm(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the command that exports NIDM-Results."""
    parser = commands.add_parser(
        "nidm",
        help="export results as a NIDM-Results pack",
        description="Write finished results as a NIDM-Results 1.3.0 pack, which NeuroVault and "
        "other programs read.",
    )
    parser.add_argument("results", metavar="DIR", help="results of a run, or their folder group")
    parser.add_argument("--contrast", metavar="C", help="one contrast; default: all")
    parser.add_argument(
        "--desc", metavar="D", help="one threshold, as file names have it: fdrBH; default: all"
    )
    parser.add_argument(
        "--output", metavar="FILE", help="the pack; default: *_nidm.zip in the folder group"
    )
    parser.set_defaults(execute="nipype_group.cli.nidm:execute")


def add_replay(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the command that makes results again."""
    parser = commands.add_parser(
        "replay",
        help="make results again and compare them bit for bit",
        description="Make results again from provenance.json of their data set, in a temporary "
        "folder, and compare them bit for bit. Inputs must have the SHA-256 that is recorded. "
        "Versions of software that files name are set aside and told once. What is equal but for "
        "rounding is told apart from what differs. The exit code is 0 only where all is equal "
        "bit for bit.",
    )
    parser.add_argument(
        "results", metavar="SIDECAR|DIR", help="one result, or all results of a run"
    )
    parser.add_argument(
        "--inputs",
        metavar="DIR",
        nargs="+",
        action="extend",
        default=[],
        help="where to look for inputs that were moved; they are known by their SHA-256",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="keep what is made again in this new folder"
    )
    add_execution(
        parser, work_dir="where the temporary folder is made; on a cluster one that all see"
    )
    parser.set_defaults(execute="nipype_group.cli.replay:execute")


def add_diff(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the command that compares two runs."""
    parser = commands.add_parser(
        "diff",
        help="tell two runs apart",
        description="Compare the results of two runs: inputs, exclusions, parameters, versions, "
        "design, contrasts, voxels, rows. Only what differs is printed. The exit code is 0 where "
        "nothing differs, 1 where something does, 2 where they cannot be compared.",
    )
    parser.add_argument("first", metavar="A", help="results of a run, or their folder group")
    parser.add_argument("second", metavar="B", help="the same of another run")
    parser.add_argument("--json", metavar="FILE", help="write all differences as JSON too")
    parser.set_defaults(execute="nipype_group.cli.diff:execute")


def add_compare(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the command that compares the maps of two analyses."""
    parser = commands.add_parser(
        "compare",
        help="compare the maps of two analyses",
        description="Compare the maps of two analyses: correlation, differences (Bland and "
        "Altman), survivors in both and in one alone (Dice), peaks matched by distance, on one "
        "page. Each is a folder of results, or one map of any package on the same grid.",
    )
    parser.add_argument("first", metavar="A", help="folder of results, or a map")
    parser.add_argument("second", metavar="B", help="the same of another analysis")
    parser.add_argument(
        "--contrast",
        metavar="NAME[=NAME]",
        action="append",
        default=[],
        help="contrast of A, and that of B where it is called otherwise; default: all of one name",
    )
    parser.add_argument(
        "--map", metavar="STAT", default="z", help="which map: z (default), t, F, effect, ..."
    )
    parser.add_argument(
        "--desc", metavar="D", help="one threshold, as file names have it; default: all that match"
    )
    parser.add_argument(
        "--threshold",
        metavar="HEIGHT",
        type=finite,
        help="survivors are what reaches it in magnitude, in place of those of the results",
    )
    parser.add_argument(
        "--peak-distance-mm",
        metavar="MM",
        type=finite,
        default=8.0,
        help="peaks farther apart are no pair, default 8",
    )
    parser.add_argument(
        "--output", metavar="FILE", default="comparison.html", help="page, default comparison.html"
    )
    parser.add_argument("--json", metavar="FILE", help="write the numbers as JSON too")
    parser.set_defaults(execute="nipype_group.cli.compare:execute")


def add_view(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the command that makes an interactive page of a map."""
    parser = commands.add_parser(
        "view",
        help="look at a map in the browser, on slices and on the cortex",
        description="Make one page of a map that needs nothing else: slices with a cursor, and "
        "with --surface the cortex, which can be turned. The map is a file, or one of a folder of "
        "results.",
        examples=_VIEW_EXAMPLES,
    )
    parser.add_argument("results", metavar="MAP|DIR", help="a map, or a folder of results")
    parser.add_argument("--contrast", metavar="C", help="of DIR: contrast; default: the only one")
    parser.add_argument(
        "--map", metavar="STAT", default="z", help="of DIR: z (default), t, F, effect, ..."
    )
    parser.add_argument(
        "--desc",
        metavar="D",
        help="of DIR: what survives a threshold, as file names have it; default: all voxels",
    )
    parser.add_argument(
        "--threshold",
        metavar="HEIGHT",
        type=finite,
        help="show only what reaches it in magnitude",
    )
    parser.add_argument(
        "--surface", action="store_true", help="the cortex too; needs plotly, 6 MB more"
    )
    parser.add_argument(
        "--output", metavar="FILE", default="viewer.html", help="page, default viewer.html"
    )
    parser.set_defaults(execute="nipype_group.cli.view:execute")
