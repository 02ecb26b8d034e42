"""Small studies whose analyses are run again after edits: maps of participants, results of peers.

A study says what its folder holds, how the command names it, and how its parts are edited. The
folder holds all that the command reads, atlas and masks too, so that it can be copied as a whole.
"""

import json

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import io, stats

SHAPE = (10, 12, 10)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
AFFINE[:3, 3] = (-20, -40, -10)
N_PARTICIPANTS, MOST_PARTICIPANTS = 8, 10
# Options that both commands take; the first choice is the one a study begins with.
OPTIONS = {
    "alpha": ((), ("--alpha", "0.2"), ("--alpha", "0.001")),
    "tail": ((), ("--tail", "positive"), ("--tail", "negative")),
    "height control": (
        (),
        ("--height-control", "bonferroni"),
        ("--height-control", "bonferroni", "--height-control", "fdr"),
        ("--height-control", "none", "--threshold-z", "2.3"),
        ("--height-control", "fdr:.2:positive", "--height-control", "fdr:.01"),
    ),
    "cluster extent": ((), ("--cluster-extent", "3"), ("--cluster-extent", "12")),
    "connectivity": ((), ("--connectivity", "6")),
    "table view": ((), ("--table-view", "fsl"), ("--table-view", "spm,afni")),
    "also write": ((), ("--also-write", "all"), ("--also-write", "coverage,search-mask")),
    "atlas": (("--atlas", "none"), ("--atlas", "{data}/atlas/parts.nii")),
    "all-resolutions inference": ((), ("--ari", "2.5"), ("--ari", "2,3"), ("--ari", "2:.2")),
    "cluster control": ((), ("--cluster-control", "rft", "--cluster-forming-z", "2.3")),
    "space": ((), ("--space", "MNI152NLin6Asym")),
}
RUN_OPTIONS = OPTIONS | {
    "smoothing": ((), ("--smooth", "6"), ("--smooth", "9")),
    "mask": ((), ("--mask", "{data}/mask.nii")),
    "search volume": ((), ("--search-volume", "{data}/search.nii")),
    "permutations": (
        (),
        ("--permutations", "12"),
        ("--permutations", "24"),
        ("--permutations", "24", "--shards", "3"),
        ("--permutations", "24", "--statistics", "extent,tfce"),
        ("--permutations", "24", "--permutation-tail", "positive", "--permutation-alpha", ".2"),
        ("--permutations", "12", "--statistics", "tfce", "--tfce-steps", "palm"),
    ),
    "seed": ((), ("--seed", "5")),
    "region models": ((), ("--no-regions",)),
    "NIDM-Results": ((), ("--nidm",)),
    "smoothness": ((), ("--smoothness-edges", "spm")),
    "settings": ((), ("--settings", "{data}/settings.json")),
}
# Models of several maps a participant; the first is the one that their study begins with.
MODELS = (
    ("--within", "a,b"),
    ("--within", "a,b", "--between", "group"),
    ("--within", "a,b", "--covariates", "age"),
    ("--within", "a,b", "--between", "group", "--covariates", "age", "--centre", "within-group"),
    ("--within", "a,b", "--contrast", "a=a", "--contrast", "step=a2 - a1"),
    ("--within", "a,b", "--contrast", "a=a"),
    (
        "--formula",
        "C(a)*C(b) + C(participant_id)",
        "--contrast",
        "a=F(a)",
        "--contrast",
        "s=a2 - a1",
    ),
    (
        "--formula",
        "C(a)*C(b) + C(participant_id)",
        "--error",
        "partitioned",
        "--contrast",
        "a=F(a)",
        "--contrast",
        "s=a2 - a1",
    ),
    ("--formula", "C(a)*C(b) + Error(participant_id/(a*b))", "--contrast", "a=a"),
    # Two maps of a cell.
    ("--within", "a"),
    *(
        ("--formula", formula, *more, "--contrast", "a=F(a)", "--contrast", "s=a2 - a1")
        for formula, *more in (
            ("C(a)*C(b) + (1 | participant_id)",),
            ("C(a)*C(b) + age + (1 | participant_id)", "--dof", "satterthwaite"),
            ("C(a)*C(b)", "--estimator", "sandwich"),
            ("C(a)*C(b)", "--estimator", "sandwich-cr1", "--cluster", "group"),
        )
    ),
)
REPEATED_OPTIONS = RUN_OPTIONS | {
    "sphericity": ((), ("--sphericity", "huynh-feldt"), ("--sphericity", "none")),
    "within shuffling": ((), ("--within-shuffling", "signs"), ("--within-shuffling", "levels")),
    "blocks": ((), ("--blocks", "group")),
    "coverage": ((), ("--min-coverage", "0.9")),
}
VARIANCE_OPTIONS = RUN_OPTIONS | {
    "estimator": (
        ("--estimator", "mixed-effects"),
        (),
        ("--estimator", "fixed-effects"),
        ("--estimator", "paule-mandel", "--knapp-hartung", "plain"),
        ("--estimator", "dersimonian-laird"),
        ("--estimator", "huber"),
        ("--estimator", "hc3"),
    ),
}
COVARIATE_OPTIONS = RUN_OPTIONS | {
    "estimator": (
        (),
        ("--estimator", "huber"),
        ("--estimator", "mm"),
        ("--estimator", "mixed-effects"),
        ("--estimator", "fixed-effects"),
    ),
    "covariate smoothing": ((), ("--map-covariate-smooth", "6")),
    "shuffled estimates": ((), ("--shuffled-estimates", "held")),
}
SIDES_OPTIONS = RUN_OPTIONS | {
    "across analyses": (
        (),
        ("--across-analyses", "bonferroni"),
        ("--across-analyses", "maximum"),
        ("--across-analyses", "fdr"),
    ),
}
ALTERNATIVE_OPTIONS = {
    name: RUN_OPTIONS[name]
    for name in ("alpha", "tail", "height control", "connectivity", "atlas", "mask", "seed")
} | {
    "permutations": ((), ("--permutations", "12"), ("--permutations", "24", "--shards", "2")),
    "alternatives": tuple(("--settings", f"{{data}}/alternatives-{n}.json") for n in range(4)),
}
# Each is an edit of another: values that come, go, and change places.
ALTERNATIVES = (
    {"smoothing_fwhm_mm": [[], 6], "exclude": [[], ["age > 42"]]},
    {"smoothing_fwhm_mm": [6, []], "exclude": [[], ["age > 42"]]},
    {"smoothing_fwhm_mm": [[], 6, 9], "estimator": ["OLS", "huber"]},
    {"exclude": [["age > 42"], []], "height_controls": ["fdr", "bonferroni"]},
)
# Nodes of BIDS Stats Models: a mean of runs below the data set, in groups, and what estimates.
LOWER_NODES = (
    None,
    {"Model": {"Type": "glm", "X": [1]}, "DummyContrasts": {"Test": "t"}},
    {
        "Model": {"Type": "glm", "X": [1, "speed"]},
        "Contrasts": [
            {"Name": "c", "ConditionList": [1], "Weights": [1], "Test": "t"},
            {"Name": "other", "ConditionList": ["speed"], "Weights": [1], "Test": "t"},
        ],
    },
)
MODEL_OPTIONS = {
    name: RUN_OPTIONS[name] for name in ("atlas", "mask", "also write", "space", "NIDM-Results")
} | {
    "across analyses": SIDES_OPTIONS["across analyses"],
    "model": tuple(("--model", f"{{data}}/model-{n}.json") for n in range(6)),
}
FORMULAS = ("age + iq", "iq + age", "age + iq + C(group)", "age")
# The fourth needs a column that the last formula lacks; the last has two rows.
EXPRESSIONS = ("age", "iq", "intercept", "age - iq", "-age", "age; iq")
NAMES = ("x", "y", "older", "iq", "Age effect", "b2")


def save(path, values):
    """Write an image of a study."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.asarray(values), AFFINE)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def write_masks_and_atlas(data):
    """Write what options name: a mask, a search volume, an atlas of two parts."""
    inside = np.ones(SHAPE, np.uint8)
    inside[0] = 0
    save(data / "mask.nii", inside)
    inside[:, :3] = 0
    save(data / "search.nii", inside)
    parts = np.ones(SHAPE, np.uint8)
    parts[5:] = 2
    save(data / "atlas" / "parts.nii", parts)
    (data / "atlas" / "parts.csv").write_text("index,name\n1,front\n2,back\n")
    settings = {"min_coverage": 0.9, "contrast_tails": {}, "table_views": ["nilearn"]}
    (data / "settings.json").write_text(json.dumps(settings))


class RunStudy:
    """Maps of participants with an effect of age and one of iq, for ``nipype-group run``.

    Parameters
    ----------
    name : {"bids", "table", "pattern"}
        How the command finds the maps.
    **start : tuple of str
        Options of the first run.
    """

    command = "run"
    options = RUN_OPTIONS
    is_long = False
    # What a participant has a map of.
    contrasts = ("c", "other")

    def __init__(self, name, **start):
        self.name = name
        self.start = start

    def first_settings(self):
        """Return the settings that analyses begin with."""
        chosen = {name: choices[0] for name, choices in self.options.items()} | self.start
        contrasts = [("x", "age"), ("y", "iq")]
        return {"contrasts": contrasts, "formula": FORMULAS[0], "options": chosen, "map": "c"}

    @property
    def table(self):
        """Name of the table of participants."""
        return "maps.tsv" if self.name == "table" else "participants.tsv"

    def map_name(self, participant, contrast="c"):
        """Return the name of a participant's map."""
        participant = participant.removeprefix("sub-")
        if self.name == "bids":
            stem = f"sub-{participant}_task-t_contrast-{contrast}_stat-effect_statmap.nii"
            return f"sub-{participant}/{stem}"
        return f"{participant}/con_{contrast}.nii"

    def map_files(self, data):
        """Return the maps of a folder that the first command reads."""
        pattern = "sub-*/*_contrast-c_*.nii" if self.name == "bids" else "*/con_c.nii"
        return sorted(data.glob(pattern))

    def go_with(self, one, other):
        """Return the pairs of files that change places with two maps."""
        return []

    def write(self, data):
        """Write the study."""
        rows = [self.row(number) for number in range(N_PARTICIPANTS)]
        for number, row in enumerate(rows):
            self.write_maps(data, number, row["participant_id"])
        self.write_table(data, pd.DataFrame(rows))
        write_masks_and_atlas(data)

    def row(self, number):
        """Return the row of a participant, from 0."""
        row = {
            "participant_id": f"{number + 1:02d}",
            "age": f"{20 + 3.5 * number:.1f}",
            "iq": f"{(7 * number) % MOST_PARTICIPANTS + 90:.1f}",
            "group": "ab"[number % 2],
        }
        if self.name == "bids":
            row["participant_id"] = f"sub-{row['participant_id']}"
        elif self.name == "table":
            row["map"] = self.map_name(row["participant_id"])
        return row

    def write_maps(self, data, number, participant):
        """Write a participant's maps of two first-level contrasts."""
        row, rng = self.row(number), np.random.default_rng(number)
        for contrast in self.contrasts:
            values = rng.standard_normal(SHAPE)
            values[2:5, 2:6, 2:5] += 0.6 * (float(row["age"]) - 32)
            values[6:9, 6:10, 5:9] -= 0.8 * (float(row["iq"]) - 94)
            save(data / self.map_name(participant, contrast), values.astype(np.float32))

    def read_table(self, data):
        """Return the table of participants as text."""
        return pd.read_csv(data / self.table, sep="\t", dtype=str, keep_default_na=False)

    def write_table(self, data, table):
        """Write it."""
        table.to_csv(data / self.table, sep="\t", index=False)

    def selection(self, settings, data):
        """Return the words of the command that say which maps are taken."""
        if self.name == "bids":
            return ["--bids", f"{data}", "--select", "stat=effect", f"contrast={settings['map']}"]
        if self.name == "table":
            return ["--maps", f"{data}/maps.tsv"]
        maps = f"{data}/{{subject}}/con_{settings['map']}.nii"
        return ["--pattern", maps, "--participants", f"{data}/participants.tsv"]

    def words(self, settings, output, data):
        """Return the words of the command behind its name."""
        contrasts = [f"--contrast={name}={weights}" for name, weights in settings["contrasts"]]
        model = ["--formula", settings["formula"], *contrasts]
        return [str(output), *self.selection(settings, data), *model]


class VarianceStudy(RunStudy):
    """Maps of participants with their variances, in a table, for ``nipype-group run``."""

    options = VARIANCE_OPTIONS
    contrasts = ("c", "variance")

    def __init__(self, **start):
        super().__init__("variances", **start)

    @property
    def table(self):
        """Name of the table of participants."""
        return "maps.tsv"

    def map_files(self, data):
        """Return the maps of a folder, effects and variances."""
        return sorted(data.glob("*/con_*.nii"))

    def row(self, number):
        """Return the row of a participant, from 0."""
        row = super().row(number)
        who = row["participant_id"]
        return row | {"map": self.map_name(who), "variance": self.map_name(who, "variance")}

    def write_maps(self, data, number, participant):
        """Write the map of a participant, and its variance."""
        super().write_maps(data, number, participant)
        rng = np.random.default_rng(100 + number)
        values = (0.5 + number % 3) * rng.chisquare(20, SHAPE) / 20
        save(data / self.map_name(participant, "variance"), values.astype(np.float32))

    def selection(self, settings, data):
        """Return the words of the command that say which maps are taken."""
        return ["--maps", f"{data}/maps.tsv"]


class CovariateStudy(VarianceStudy):
    """Maps of participants with variances and a covariate that is a map, in a table."""

    options = COVARIATE_OPTIONS
    contrasts = ("c", "variance", "grey")

    def __init__(self, **start):
        super().__init__(**start)
        self.name = "covariates"

    def row(self, number):
        """Return the row of a participant, from 0."""
        row = super().row(number)
        return row | {"grey": self.map_name(row["participant_id"], "grey")}

    def words(self, settings, output, data):
        """Return the words of the command behind its name."""
        formula = {"formula": f"{settings['formula']} + grey"}
        return [*super().words(settings | formula, output, data), "--contrast=grey=grey"]

    def selection(self, settings, data):
        """Return the words of the command that say which maps are taken."""
        return [*super().selection(settings, data), "--map-covariate", "grey"]


class SidesStudy(RunStudy):
    """Maps of two seeds, an analysis of each."""

    options = SIDES_OPTIONS
    is_long = True

    def map_files(self, data):
        """Return the maps of a folder, of both seeds."""
        return sorted(data.glob("*/con_*.nii"))

    def selection(self, settings, data):
        """Return the words of the command that say which maps are taken."""
        maps = ["--pattern", f"{data}/{{subject}}/con_{{seed}}.nii", "--each", "seed"]
        return [*maps, "--participants", f"{data}/participants.tsv"]


class AlternativesStudy(RunStudy):
    """Maps of participants, for ``nipype-group multiverse``."""

    command = "multiverse"
    options = ALTERNATIVE_OPTIONS
    is_long = True

    @property
    def table(self):
        """Name of the table of participants."""
        return "maps.tsv"

    def row(self, number):
        """Return the row of a participant, from 0."""
        row = super().row(number)
        return row | {"map": self.map_name(row["participant_id"])}

    def write(self, data):
        """Write the study, and files of alternatives."""
        super().write(data)
        for number, alternatives in enumerate(ALTERNATIVES):
            path = data / f"alternatives-{number}.json"
            path.write_text(json.dumps({"alternatives": alternatives}))

    def selection(self, settings, data):
        """Return the words of the command that say which maps are taken."""
        return ["--maps", f"{data}/maps.tsv"]


class ModelStudy(RunStudy):
    """Maps of two runs of two contrasts, for BIDS Stats Models."""

    options = MODEL_OPTIONS
    is_long = True

    def first_settings(self):
        """Return the settings that analyses begin with."""
        chosen = {name: choices[0] for name, choices in self.options.items()} | self.start
        return {"options": chosen}

    def map_files(self, data):
        """Return the maps of a folder."""
        return sorted(data.glob("sub-*/*.nii"))

    def write_maps(self, data, number, participant):
        """Write a participant's maps, of two runs, and the speed of each in a table of scans."""
        row, rng = self.row(number), np.random.default_rng(number)
        rows = []
        for run in (1, 2, 3):
            for contrast in self.contrasts:
                values = rng.standard_normal(SHAPE) + (run == 2) * rng.standard_normal()
                values[2:5, 2:6, 2:5] += 0.6 * (float(row["age"]) - 32)
                stem = f"{participant}_task-t_run-{run}_contrast-{contrast}_stat-effect_statmap"
                save(data / participant / f"{stem}.nii", values.astype(np.float32))
            name = f"{participant}_task-t_run-{run}_bold.nii.gz"
            rows.append({"filename": name, "speed": f"{run + number % 3 / 10:.1f}"})
        table = pd.DataFrame(rows)
        table.to_csv(data / participant / f"{participant}_scans.tsv", sep="\t", index=False)

    def row(self, number):
        """Return the row of a participant, from 0."""
        row = super().row(number)
        return row | {"participant_id": f"sub-{row['participant_id']}"}

    def write(self, data):
        """Write the study and models of it."""
        super().write(data)
        for number in range(len(self.options["model"])):
            content = self.model(LOWER_NODES[number % 3], number > 2)
            (data / f"model-{number}.json").write_text(json.dumps(content))

    @staticmethod
    def model(lower, robust):
        """Return a model of the data set, with a node of subjects below it or all maps."""
        model = {"Type": "glm", "X": [1, "age"]}
        software = {"alpha": 0.1, "n_permutations": 12, "regions": False, "seed": 2}
        if robust:
            software["estimator"] = "huber"
        elif lower is None:
            software["estimator"], software["n_permutations"] = "sandwich", 0
        nodes = [
            {
                "Level": "Dataset",
                "Name": "group",
                "GroupBy": ["contrast"],
                "Model": model | {"Software": {"nipype_group": software}},
                "DummyContrasts": {"Test": "t"},
            }
        ]
        if lower is not None:
            node = {"Level": "Subject", "Name": "subject", "GroupBy": ["subject", "contrast"]}
            nodes.insert(0, node | lower)
        return {"Name": "m", "BIDSModelVersion": "1.0.0", "Nodes": nodes}

    def selection(self, settings, data):
        """Return the words of the command that say which maps are taken."""
        return ["--bids", f"{data}"]

    def words(self, settings, output, data):
        """Return the words of the command behind its name."""
        return [str(output), *self.selection(settings, data)]


class RepeatedStudy(RunStudy):
    """Six maps of every participant, of two factors, for ``nipype-group run``."""

    name = "repeated"
    options = REPEATED_OPTIONS
    n_participants = 6
    cells = tuple((a, b) for a in ("a1", "a2", "a3") for b in ("b1", "b2"))

    def __init__(self, **start):
        super().__init__("repeated", **start)

    def first_settings(self):
        """Return the settings that analyses begin with."""
        chosen = {name: choices[0] for name, choices in self.options.items()} | self.start
        return {"model": MODELS[0], "options": chosen}

    @property
    def table(self):
        """Name of the table of maps."""
        return "maps.tsv"

    def map_files(self, data):
        """Return the maps of a folder."""
        return sorted(data.glob("*/*_*.nii"))

    def write(self, data):
        """Write the study; the first participant lacks a voxel in a map."""
        rows = []
        for number in range(self.n_participants):
            rng = np.random.default_rng(number)
            own, along = rng.standard_normal((2, *SHAPE))
            about = {"age": f"{20 + 7 * number % 11}", "group": "gh"[number % 2]}
            for a, b in self.cells:
                values = own + rng.standard_normal(SHAPE) + along * (a == "a2")
                values[2:5, 2:6, 2:5] += 2 * (a == "a3")
                values[6:9, 6:10, 5:9] -= 3 * (a == "a2") * (b == "b2")
                if (number, a, b) == (0, "a1", "b1"):
                    values[5, 5, 5] = np.nan
                place = f"{number + 1:02d}/{a}_{b}.nii"
                save(data / place, values.astype(np.float32))
                key = {"participant_id": f"{number + 1:02d}", "a": a, "b": b}
                rows.append(key | about | {"map": place})
        self.write_table(data, pd.DataFrame(rows))
        write_masks_and_atlas(data)

    def selection(self, settings, data):
        """Return the words of the command that say which maps are taken."""
        return ["--maps", f"{data}/maps.tsv"]

    def words(self, settings, output, data):
        """Return the words of the command behind its name."""
        return [str(output), *self.selection(settings, data), *settings["model"]]


class PeerStudy:
    """Results of another package, for ``nipype-group report``.

    Parameters
    ----------
    name : {"feat", "spm", "palm", "map"}
        Whose: FEAT of FSL, SPM, PALM, or one statistic map.
    """

    command = "report"
    options = OPTIONS
    is_long = False
    dof = 12

    def __init__(self, name):
        self.name = name
        self.n_statistics = 1 if name == "map" else 2
        if name in ("palm", "map"):
            self.options = {k: v for k, v in OPTIONS.items() if k != "cluster control"}

    def first_settings(self):
        """Return the settings that reports begin with."""
        chosen = {name: choices[0] for name, choices in self.options.items()}
        return {"options": chosen, "dof": self.dof, "name": "x", "mask": "mask"}

    def files_of(self, number):
        """Return what the maps of one statistic, from 1, hold, and their names; t first."""
        return {
            "feat": {
                "t": f"stats/tstat{number}.nii.gz",
                "effect": f"stats/cope{number}.nii.gz",
                "z": f"stats/zstat{number}.nii.gz",
            },
            "spm": {"t": f"spmT_000{number}.nii", "effect": f"con_000{number}.nii"},
            "palm": {
                "t": f"palm_vox_tstat_c{number}.nii",
                "corrected p": f"palm_vox_tstat_fwep_c{number}.nii",
            },
            "map": {"t": "tstat.nii.gz", "effect": "effect.nii.gz"},
        }[self.name]

    def map_files(self, data):
        """Return the statistic maps that are there."""
        names = [self.files_of(number)["t"] for number in range(1, self.n_statistics + 1)]
        return [data / name for name in names if (data / name).is_file()]

    def go_with(self, one, other):
        """Return the pairs of files that change places with two statistics: p of PALM."""
        if self.name != "palm":
            return []
        beside = [p.with_name(p.name.replace("_tstat_", "_tstat_fwep_")) for p in (one, other)]
        return [tuple(beside)]

    def write(self, data):
        """Write the results."""
        for number in range(1, self.n_statistics + 1):
            rng = np.random.default_rng(number)
            t = rng.standard_t(self.dof, SHAPE)
            t[2:5, 2 * number : 2 * number + 4, 3:6] += 9
            t[8, 8:11, 5:7] -= 8
            t[0] = 0
            maps = {
                "t": t,
                "effect": t / 3,
                "z": np.sign(t) * stats.norm.isf(stats.t.sf(np.abs(t), self.dof)),
                "corrected p": np.clip(stats.t.sf(t, self.dof) * t.size, 0.01, 1),
            }
            for kind, name in self.files_of(number).items():
                save(data / name, maps[kind].astype(np.float32))
        write_masks_and_atlas(data)
        (data / "mask.nii").rename(data / "inside.nii")
        if self.name in ("feat", "spm"):
            inside = np.ones(SHAPE, np.uint8)
            inside[:, :, -1] = 0
            save(data / ("mask.nii" if self.name == "spm" else "mask.nii.gz"), inside)
        titles = ["age > 0", "iq"][: self.n_statistics]
        weights = [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]][: self.n_statistics]
        self.write_model(data, {"titles": titles, "weights": weights, "dof": self.dof, "score": 1})

    def read_model(self, data):
        """Return titles, weights and degrees of freedom, and the first score of the design."""
        return json.loads((data / ".model.json").read_text())

    def write_model(self, data, model):
        """Write what the package says of the model."""
        (data / ".model.json").write_text(json.dumps(model))
        rng = np.random.default_rng(9)
        design = np.column_stack([np.ones(15), rng.standard_normal((15, 2)).round(3)])
        design[0, 1] = model["score"]
        if self.name == "feat":
            rows = "\n".join(" ".join(f"{v:g}" for v in row) for row in design)
            (data / "design.mat").write_text(f"/NumWaves 3\n\n/Matrix\n{rows}\n")
            titles = [f"/ContrastName{n}\t{t}\n" for n, t in enumerate(model["titles"], 1)]
            rows = "\n".join(" ".join(f"{v:g}" for v in row) for row in model["weights"])
            text = f"{''.join(titles)}/NumWaves 3\n\n/Matrix\n{rows}\n"
            (data / "design.con").write_text(text)
            (data / "stats" / "dof").write_text(f"{model['dof']}\n")
            (data / "stats" / "smoothness").write_text("DLH 0.3\nFWHMvoxel 2 2 2\n")
        elif self.name == "spm":
            contrasts = np.zeros(len(model["titles"]), dtype=[(k, object) for k in _SPM_CONTRAST])
            contrasts[:] = [
                (title, "T", np.array([weights]).T, 1.0)
                for title, weights in zip(model["titles"], model["weights"], strict=True)
            ]
            names = np.array(["mean", "age", "iq"], dtype=object)
            about = {
                "xX": {"X": design, "name": names, "erdf": float(model["dof"])},
                "xCon": contrasts,
                "xVol": {"FWHM": [2.0, 2.0, 2.0], "R": [1.0, 12.0, 50.0, 100.0], "S": 1080.0},
            }
            io.savemat(data / "SPM.mat", {"SPM": about})
            # It writes the date of the day into its header.
            content = (data / "SPM.mat").read_bytes()
            (data / "SPM.mat").write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + content[116:])
        elif self.name == "palm":
            (data / "palm_palmconfig.txt").write_text("-i x.nii\n-n 100\n")
            for number in range(1, self.n_statistics + 1):
                (data / f"palm_vox_tstat_dof_c{number}.txt").write_text(f"0\n{model['dof']}\n")

    def words(self, settings, output, data):
        """Return the words of the command behind its name."""
        if self.name != "map":
            return [str(data), str(output)]
        return [
            "--stat-map",
            f"{data}/tstat.nii.gz",
            str(output),
            "--stat-type",
            "t",
            "--dof",
            str(settings["dof"]),
            "--name",
            settings["name"],
            "--effect-map",
            f"{data}/effect.nii.gz",
            *([] if settings["mask"] is None else ["--mask", f"{data}/inside.nii"]),
        ]

    def selection(self, settings, data):
        """Return the words of the command that say which results are reported."""
        return self.words(settings, "OUT", data)[:2]


_SPM_CONTRAST = ("name", "STAT", "c", "eidf")
STUDIES = {
    study.name: study
    for study in (
        RunStudy("bids"),
        RunStudy("table", permutations=RUN_OPTIONS["permutations"][1], atlas=OPTIONS["atlas"][1]),
        RunStudy("pattern", smoothing=("--smooth", "6"), mask=("--mask", "{data}/mask.nii")),
        VarianceStudy(),
        CovariateStudy(),
        SidesStudy("sides", permutations=RUN_OPTIONS["permutations"][1]),
        AlternativesStudy("alternatives", permutations=ALTERNATIVE_OPTIONS["permutations"][1]),
        ModelStudy("model"),
        RepeatedStudy(permutations=RUN_OPTIONS["permutations"][1], atlas=OPTIONS["atlas"][1]),
        PeerStudy("feat"),
        PeerStudy("spm"),
        PeerStudy("palm"),
        PeerStudy("map"),
    )
}


def command_words(study, settings, output, data, work=None, more=()):
    """Return the arguments of the command of an analysis.

    Parameters
    ----------
    study : RunStudy or PeerStudy
    settings : dict
        As `first_settings` gives them.
    output, data : path
        Folder of the results, and that of the study.
    work : path, optional
        Work folder, where it is not the usual one.
    more : sequence of str
        Further options.

    Returns
    -------
    list of str
    """
    words = [study.command, *study.words(settings, output, data)]
    for chosen in settings["options"].values():
        words += [word.format(data=data) for word in chosen]
    words += [] if work is None else ["--work-dir", str(work)]
    return [*words, "--plugin", "Linear", "--n-procs", "1", *more]
