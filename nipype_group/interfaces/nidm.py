"""Share: results as a NIDM-Results pack."""

from pathlib import Path

from nipype.interfaces.base import Str, TraitedSpec

from nipype_group.interfaces.base import (
    Directory,
    File,
    GroupInputSpec,
    GroupInterface,
    file_identity,
    isdefined,
)


class _NIDMResultsInputSpec(GroupInputSpec):
    revision = 2
    group_dir = Directory(exists=True, mandatory=True, desc="folder group of finished results")
    contrast = Str(desc="name of one contrast; default: all")
    threshold = Str(desc="desc of one threshold, as fdrBH; default: all")

    def hidden_inputs(self) -> list[object]:
        """Return the files of the folder as they are today; packs are no part of them."""
        files = sorted(p for p in Path(self.group_dir).rglob("*") if p.is_file())
        return [("files", [file_identity(p) for p in files if not p.name.endswith("_nidm.zip")])]


class _NIDMResultsOutputSpec(TraitedSpec):
    nidm_file = File(desc="the pack, a zip file")


class NIDMResults(GroupInterface):
    """Write results as a NIDM-Results 1.3.0 pack.

    The pack holds the provenance of the maps in RDF, as far as that vocabulary goes: model,
    contrasts, thresholds, clusters and peaks; the maps themselves; and nipype_group.json with what
    the vocabulary has no words for. The same results give the same bytes.

    Examples
    --------
    >>> from nipype_group.interfaces import NIDMResults
    >>> NIDMResults(contrast="reading", threshold="fdrBH").inputs.threshold
    'fdrBH'

    References
    ----------
    Maumet et al. (2016), Sharing brain mapping statistical results with the neuroimaging data
    model. Sci Data 3:160102.
    """

    input_spec = _NIDMResultsInputSpec
    output_spec = _NIDMResultsOutputSpec

    def _run_interface(self, runtime):
        # Here, as rdflib takes time and packs are rarely wanted.
        from nipype_group.reporting.nidm.pack import write_nidm_pack

        inputs = self.inputs
        self._results["nidm_file"] = str(
            write_nidm_pack(
                inputs.group_dir,
                Path(runtime.cwd),
                contrast=inputs.contrast if isdefined(inputs.contrast) else None,
                desc=inputs.threshold if isdefined(inputs.threshold) else None,
            )
        )
        return runtime
