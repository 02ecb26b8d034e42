"""Directives of error rates and of intervals that hold, as tests/simulations counts them."""

import json
from pathlib import Path

from stored_tables import Stored, list_table, percent

_NULL_AVERAGES = {
    "estimated_fwhm_voxels": "FWHM in voxels that the residuals give",
    "active_tdp_Z": "lower bound of the proportion of true discoveries among active voxels, Z",
    "active_tdp_t": "lower bound of the proportion of true discoveries among active voxels, t",
}


class NullTable(Stored):
    """The error rates of docs/random_field_null.json."""

    file = "random_field_null.json"

    def table(self, stored):
        """Return a row a statistic and test, a column a smoothness."""
        cells, smoothness = {}, {}
        for row in stored["rows"]:
            rate, low, high = (f"{100 * row[key]:.1f}" for key in ("rate", "low", "high"))
            cell = f"{rate} ({low} to {high})"
            cells.setdefault((row["statistic"], row["test"]), []).append(cell)
            smoothness.setdefault(f"FWHM {row['fwhm_voxels']} voxels")
        return [
            f"Percent of {stored['fields']:,} fields with an error, and 95 % interval:",
            "",
            *list_table(
                ["Statistic", "Test", *smoothness],
                [[*key, *row] for key, row in cells.items()],
                (10, 30, *[20] * len(smoothness)),
            ),
            *(_mean_line(text, key, stored["averages"]) for key, text in _NULL_AVERAGES.items()),
        ]


class PermutationNullTable(Stored):
    """The error rates of docs/permutation_null.json."""

    file = "permutation_null.json"

    def table(self, stored):
        """Return a table of the rates that are to be alpha, and one of those that are not."""
        limits = (
            f"{100 * stored['bounds'][key] / stored['studies']:.1f}"
            for key in ("fewest_errors", "most_errors")
        )
        return [
            f"Percent of {stored['studies']:,} studies with an error, {stored['shuffles']} "
            f"shuffles each. A true rate of 5 % gives {' to '.join(limits)} but for one count in "
            "a thousand on each side. Permutation holds its rate in these studies:",
            "",
            *_rates_table([row for row in stored["rows"] if row["upper_bound"]]),
            "It need not in these:",
            "",
            *_rates_table([row for row in stored["rows"] if not row["upper_bound"]]),
        ]


class AcrossNullTable(Stored):
    """The error rates of docs/across_analyses_null.json."""

    file = "across_analyses_null.json"
    ways = {
        "fwe of each analysis": "Own error of each, any errs",
        "bonferroni": "``bonferroni``",
        "maximum": "``maximum``",
        "fdr": "``fdr``",
    }

    def table(self, stored):
        """Return a row a contrast, a column a way."""
        rates = {}
        for row in stored["rows"]:
            own = rates.setdefault(row["test"], {})
            own[row["by"]] = f"{100 * row['errors'] / row['studies']:.1f}"
        named = {"slope": "slope, permutations", "mean": "mean, sign flips"}
        rows = [[named[test], *(own[way] for way in self.ways)] for test, own in rates.items()]
        n = stored["rows"][0]["studies"]
        return [
            f"Percent of {n:,} studies without effects in which anything survives at "
            f"{100 * stored['alpha']:g} %:",
            "",
            *list_table(["Contrast", *self.ways.values()], rows, (28, 18, 18, 18, 18)),
        ]


class AcrossEffectsTable(Stored):
    """What false discovery rates tell where one analysis has effects."""

    file = "across_analyses_null.json"

    def table(self, stored):
        """Return a row a family."""
        rows = [
            [
                row["family"],
                f"{100 * row['false_share']:.1f}",
                f"{100 * row['others_told'] / row['studies']:.1f}",
            ]
            for row in stored["with_effects"]
        ]
        head = ["Family", "Mean share of false voxels", "Studies with a voxel in the other three"]
        return ["In percent:", "", *list_table(head, rows, (30, 35, 35))]


class ErrorTermsNullTable(Stored):
    """The error rates of docs/error_terms_null.json."""

    file = "error_terms_null.json"
    tests = {
        "none": "No correction",
        "greenhouse-geisser": "Greenhouse-Geisser",
        "huynh-feldt": "Huynh-Feldt",
        "pillai": "Pillai",
        "permutation": "Permutation",
        "pooled": "Pooled error",
    }

    def table(self, stored):
        """Return a row a scenario and effect, a column a test."""
        cells = {}
        for row in stored["rows"]:
            rates = cells.setdefault((row["scenario"], row["effect"]), {})
            shares = (f"{100 * n / row['studies']:.2g}" for n in row["errors"])
            rates[row["test"]] = " / ".join(shares)
        alphas = ", ".join(f"{100 * alpha:g}" for alpha in stored["alphas"])
        rows = [
            [scenario, effect, f"{stored['epsilon'][scenario][effect]:g}"]
            + [rates.get(test, "") for test in self.tests]
            for (scenario, effect), rates in cells.items()
        ]
        return [
            f"Percent of {stored['studies']:,} studies, of {stored['permuted_studies']:,} by "
            f"permutation, with a p of at most {alphas} %:",
            "",
            *list_table(
                ["Studies", "Effect", "Epsilon", *self.tests.values()],
                rows,
                (20, 9, 9, *[13] * len(self.tests)),
            ),
        ]


class PermutedErrorTermsTable(Stored):
    """How effects are shuffled in docs/error_terms_null.json, and what p they can have."""

    file = "error_terms_null.json"

    def table(self, stored):
        """Return a row a scenario and effect."""
        rows = [
            [
                row["scenario"],
                row["effect"],
                row["shuffling"],
                f"{row['shuffles']:,}",
                " / ".join(f"{100 * level:.2g}" for level in row["levels"][1]),
                " / ".join(f"{100 * n / row['studies']:.2g}" for n in row["errors"]),
            ]
            for row in stored["rows"]
            if "shuffling" in row
        ]
        header = ["Studies", "Effect", "Shuffling", "Shuffles", "Largest p, percent", "Errors"]
        return list_table(header, rows, (30, 10, 25, 10, 15, 15))


class EstimatorsNullTable(Stored):
    """The error rates of docs/estimators_null.json."""

    file = "estimators_null.json"

    def table(self, stored):
        """Return a row a scenario, contrast and estimator."""
        rows = [
            [row["scenario"], row["contrast"], row["estimator"]]
            + [percent(row["errors"], row["studies"])]
            for row in stored["rows"]
        ]
        alphas = ", ".join(f"{100 * alpha:g}" for alpha in stored["alphas"])
        return [
            f"Percent of {stored['studies']:,} studies with a p of at most {alphas} %:",
            "",
            *list_table(["Studies", "Contrast", "Estimator", "Errors"], rows, (40, 20, 20, 20)),
        ]


class EstimatorsShuffledTable(Stored):
    """The error rates of docs/estimators_null.json by signs of whole participants."""

    file = "estimators_null.json"

    def table(self, stored):
        """Return a row a scenario, contrast and estimator."""
        about = stored["shuffled"]
        rows = [
            [row["scenario"], row["contrast"], row["estimator"]]
            + [percent(row["errors"], row["voxels"]), percent(row["largest"], row["studies"])]
            for row in about["rows"]
        ]
        header = ["Studies", "Contrast", "Estimator", "Voxels", "Largest of a study"]
        return [
            f"Percent of {about['studies']:,} studies of {about['voxels']} voxels, "
            f"{about['shuffles']} shuffles, with a p of at most 5, 1 %, uncorrected of voxels and "
            "corrected of the largest:",
            "",
            *list_table(header, rows, (40, 15, 20, 12, 13)),
        ]


class EffectVarianceNullTable(Stored):
    """The error rates of docs/effect_variance_null.json, by t or by shuffles."""

    file = "effect_variance_null.json"
    required_arguments = 1

    def table(self, stored):
        """Return a row a kind of studies, a column an estimator."""
        shuffled = self.arguments[0] == "shuffles"
        rows, cells = stored["shuffled" if shuffled else "rows"], {}
        for row in rows:
            key = row["participants"], row["variances"], row["between"]
            rates = [percent(row["errors"], row["voxels" if shuffled else "studies"])]
            if shuffled:
                rates.append(percent(row["largest"], row["studies"]))
            cells.setdefault(key, {})[row["estimator"]] = "; ".join(rates)
        ways = list(dict.fromkeys(row["estimator"] for row in rows))
        header = [
            "Participants",
            "Variances",
            "Between",
            *(way[0].upper() + way[1:] for way in ways),
        ]
        filled = [[*key, *(own.get(way, "") for way in ways)] for key, own in cells.items()]
        return list_table(header, filled, (11, 11, 11, *[10] * len(ways)))


class LongitudinalNullTable(Stored):
    """The error rates of docs/longitudinal_null.json of one kind."""

    file = "longitudinal_null.json"
    required_arguments = 1
    volume_tests = {"voxel": "Voxel", "extent": "Extent", "mass": "Mass", "tfce": "TFCE"}
    fits = {"sandwich-swe": "``sandwich-swe``", "pooled-reml": "``pooled-reml``"}

    def table(self, stored):
        """Return a row a scenario, contrast and estimator."""
        kind = self.arguments[0]
        own = [row for row in stored["rows"] if row["kind"] == kind]
        make = {"shared": self._shared, "signs": self._signs, "clusters": self._clusters}[kind]
        words, header, rows, widths = make(stored, own)
        return [words, "", *list_table(header, rows, widths)]

    def _shared(self, stored, own):
        alphas = ", ".join(f"{100 * alpha:g}" for alpha in stored["alphas"])
        rows = [
            [row["scenario"], row["contrast"], self.fits[row["estimator"]], row["covariance"]]
            + [percent(row["errors"], row["voxels"])]
            for row in own
        ]
        words = f"Percent of voxels with a p of at most {alphas} %, uncorrected:"
        header = ["Studies", "Contrast", "Estimator", "One covariance of", "Errors"]
        return words, header, rows, (35, 15, 18, 14, 18)

    def _signs(self, stored, own):
        about = stored["signs"]
        rows = [
            [row["scenario"], row["contrast"], row["estimator"]]
            + [percent(row["errors"], row["voxels"]), percent(row["largest"], row["studies"])]
            for row in own
        ]
        words = (
            f"Percent of {stored['studies']:,} studies of {about['voxels']} voxels, "
            f"{about['shuffles']} shuffles, with a p of at most 5, 1 %, uncorrected of voxels and "
            "corrected of the largest:"
        )
        header = ["Studies", "Contrast", "Estimator", "Voxels", "Largest of a study"]
        return words, header, rows, (40, 15, 20, 12, 13)

    def _clusters(self, stored, own):
        about = stored["clusters"]
        rows = [
            [row["scenario"], row["contrast"], row["estimator"]]
            + [f"{100 * row['errors'][test] / row['studies']:.1f}" for test in self.volume_tests]
            for row in own
        ]
        shape = " x ".join(map(str, about["volume"]))
        words = (
            f"Percent of {stored['studies']:,} studies with a find in a volume of {shape} voxels, "
            f"{about['shuffles']} shuffles, familywise at 5 %:"
        )
        header = ["Studies", "Contrast", "Estimator", *self.volume_tests.values()]
        return words, header, rows, (36, 15, 17, 8, 8, 8, 8)


class UnequalMapsTable(Stored):
    """The rates of docs/unequal_maps.json of one part."""

    file = "unequal_maps.json"
    final_argument_whitespace = True
    required_arguments = 1

    def table(self, stored):
        """Return a row a size, kind of data and what is told, a column a way to test."""
        own = [row for row in stored["rows"] if row["part"] == self.arguments[0]]
        ways, cells = list(dict.fromkeys(row["by"] for row in own)), {}
        for row in own:
            rates = cells.setdefault((row["maps"], row["data"], row["of"]), {})
            rates[row["by"]] = " / ".join(f"{100 * rate:.2g}" for rate in row["rates"])
        rows = [[*map(str, key), *(rates[way] for way in ways)] for key, rates in cells.items()]
        return list_table(["Maps", "Data", "Percent", *ways], rows, (7, 25, 12, *[14] * len(ways)))


class RobustPermutedTable(Stored):
    """The rates of docs/robust_permuted.json of errors or of power."""

    file = "robust_permuted.json"
    required_arguments = 1

    def table(self, stored):
        """Return a row a design, size and kind of data, a column a way to test."""
        own = [row for row in stored["rows"] if row["of"] == self.arguments[0]]
        ways = list(dict.fromkeys((row["by"], row["how"]) for row in own))
        cells = {}
        for row in own:
            rates = cells.setdefault((row["design"], row["maps"], row["data"]), {})
            rates[row["by"], row["how"]] = " / ".join(f"{100 * r:.2g}" for r in row["rates"])
        rows = [[*map(str, key), *(rates[way] for way in ways)] for key, rates in cells.items()]
        header = ["Effect", "Maps", "Data", *(f"{by}, {how}" for by, how in ways)]
        widths = (7, 6, 18, *[10] * len(ways))
        return [
            f"Percent of {stored['studies']:,} studies, {stored['shuffles']} shuffles:",
            "",
            *list_table(header, rows, widths),
        ]


class EffectSizeCoverageTable(Stored):
    """How often intervals of docs/effect_size_coverage.json hold the sizes."""

    file = "effect_size_coverage.json"

    def table(self, stored):
        """Return a row a design and true d, a column a size."""
        sizes, cells = list(dict.fromkeys(row["size"] for row in stored["rows"])), {}
        for row in stored["rows"]:
            found = cells.setdefault((row["design"], row["d"]), {})
            share = f"{100 * row['held'] / row['studies']:.1f}"
            found.setdefault(row["size"], []).append(share)
        rows = [
            [design, f"{d:g}", *(" / ".join(found.get(size, ())) for size in sizes)]
            for (design, d), found in cells.items()
        ]
        widths = (24, 5, *[11] * len(sizes))
        return list_table(["Studies", "True d", *sizes], rows, widths)


class ConfidenceSetsTable(Stored):
    """How often the sets of docs/confidence_sets.json hold the true one, beside crtoolbox."""

    file = "confidence_sets.json"

    def table(self, stored):
        """Return a row a number of maps and unit."""
        path = Path(self.env.srcdir, "confidence_sets_crtoolbox.json")
        self.env.note_dependency(str(path))
        peers = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
        theirs = {(row["maps"], row["unit"]): row for row in peers}
        rows = []
        for row in stored["rows"]:
            cells = [str(row["maps"]), row["unit"], *_held(row)]
            peer = theirs.get((row["maps"], row["unit"]))
            for own in (row["first"], peer):
                cells += (
                    ["", ""] if own is None else [_held(own)[1], f"{own['mean_quantile']:.2f}"]
                )
            rows.append(cells)
        first = stored["rows"][0]["first"]["studies"]
        header = ["Maps", "Level of", "Voxels", "Between"]
        header += [f"Between, first {first}", "Mean k"]
        return list_table([*header, "crtoolbox, these", "Mean k"], rows, (7, 10, *[14] * 6))


def _held(row):
    """Return the percent of studies whose sets hold the true one, at voxels and between them."""
    return [f"{100 * n / row['studies']:.1f}" for n in row["held"].values()]


def _rates_table(rows):
    """Return a row a scenario and side, a column a test."""
    cells = {}
    for row in rows:
        rates = cells.setdefault((row["scenario"], row["side"]), {})
        rates[row["test"]] = f"{100 * row['rate']:.1f}"
    tests = list(next(iter(cells.values())))
    return list_table(
        ["Studies", "Side", *tests],
        [[*key, *(rates.get(test, "") for test in tests)] for key, rates in cells.items()],
        (35, 15, *[10] * len(tests)),
    )


def _mean_line(text, key, averages):
    """Return an item with the means of all columns."""
    return f"- Mean {text}: {', '.join(f'{row[key]:.2f}' for row in averages)}."


def setup(app):
    """Tell Sphinx of the directives."""
    app.add_directive("null-table", NullTable)
    app.add_directive("permutation-null-table", PermutationNullTable)
    app.add_directive("across-null-table", AcrossNullTable)
    app.add_directive("across-effects-table", AcrossEffectsTable)
    app.add_directive("error-terms-null-table", ErrorTermsNullTable)
    app.add_directive("permuted-error-terms-table", PermutedErrorTermsTable)
    app.add_directive("estimators-null-table", EstimatorsNullTable)
    app.add_directive("estimators-shuffled-table", EstimatorsShuffledTable)
    app.add_directive("effect-variance-null-table", EffectVarianceNullTable)
    app.add_directive("longitudinal-null-table", LongitudinalNullTable)
    app.add_directive("unequal-maps-table", UnequalMapsTable)
    app.add_directive("robust-permuted-table", RobustPermutedTable)
    app.add_directive("effect-size-coverage-table", EffectSizeCoverageTable)
    app.add_directive("confidence-sets-table", ConfidenceSetsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
