"""Report: one page of everything a group folder holds."""

from pathlib import Path

from nipype.interfaces.base import Str, TraitedSpec, traits

from nipype_group.interfaces.base import (
    Directory,
    File,
    GroupInputSpec,
    GroupInterface,
    file_identity,
    isdefined,
)
from nipype_group.reporting.page.report import write_report


class _GroupReportInputSpec(GroupInputSpec):
    revision = 5
    group_dir = Directory(
        exists=True, mandatory=True, desc="folder of group results, or the data set that holds it"
    )
    out_file = Str("report.html", usedefault=True, desc="name of the page, or its absolute path")
    viewer = traits.Bool(
        False, usedefault=True, desc="embed an interactive viewer, 0.7 MB a contrast"
    )

    def hidden_inputs(self) -> list[object]:
        """Return the names and contents of the files that the page is made of."""
        if not isdefined(self.group_dir):
            return []
        files = (p for p in sorted(Path(self.group_dir).rglob("*")) if p.is_file())
        return [file_identity(path) for path in files if path.suffix != ".html"]


class _GroupReportOutputSpec(TraitedSpec):
    report_file = File(desc="HTML page that holds its figures and tables")


class GroupReport(GroupInterface):
    """Write the report of a group folder as one HTML page that needs nothing else.

    It is made of files and JSON alone: who is in and out, quality of the maps, the design, and for
    every contrast maps, all corrections side by side, tables, permutation, region models; then
    methods with references, parameters and versions. The page makes no request to the network.

    Examples
    --------
    >>> from nipype_group.interfaces import GroupReport
    >>> GroupReport(viewer=True).inputs.out_file
    'report.html'
    """

    input_spec = _GroupReportInputSpec
    output_spec = _GroupReportOutputSpec

    def _run_interface(self, runtime):
        path = Path(runtime.cwd) / self.inputs.out_file
        self._results["report_file"] = write_report(
            self.inputs.group_dir, path, self.inputs.viewer
        )
        return runtime
