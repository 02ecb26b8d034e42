"""What results were made from: told to the sidecars before a run, recorded beside them after."""

from pathlib import Path

from nipype_group.cli.command_text import command_text
from nipype_group.execution.provenance import write_prov
from nipype_group.reporting.provenance_record import PROV_FOLDER, write_provenance
from nipype_group.reporting.ro_crate import write_ro_crate
from nipype_group.reporting.run_inputs import digest, record_inputs


def add_provenance(parser):
    """Add the option of W3C PROV."""
    parser.add_argument(
        "--provenance", action="store_true",
        help=f"write W3C PROV of every step to OUT/{PROV_FOLDER} too; takes some seconds",
    )  # fmt: skip


def tell_origin(workflow, command, inputs_sha256):
    """Give a group workflow what its sidecars say of command and inputs."""
    keep = workflow.get_node("keep")
    keep.inputs.command = command
    keep.inputs.inputs_sha256 = inputs_sha256


class Origin:
    """Command and inputs of a run.

    Parameters
    ----------
    settings : AnalysisSettings
    files : dict
        Inputs of `init_group_wf`.
    arguments : Namespace
        Of the command, with its parser.
    """

    def __init__(self, settings, files, arguments):
        self._settings, self._files, self._arguments = settings, files, arguments
        self._command = command_text(arguments.parser, arguments)
        try:
            self._inputs = record_inputs(files, blocks=settings.blocks, atlases=settings.atlases)
        except (ValueError, OSError):
            # The run will say what is wrong with them.
            self._inputs = []

    def tell(self, workflow):
        """Tell the workflow, before it runs."""
        tell_origin(workflow, self._command, digest(self._inputs))

    def record(self, result):
        """Write the records at the top of the derivatives, after the run.

        Parameters
        ----------
        result : RunResult
        """
        arguments, top = self._arguments, Path(self._arguments.output_dir).absolute()
        write_provenance(
            top,
            settings=self._settings,
            files=self._files,
            inputs=self._inputs,
            outputs=result.outputs["out_files"],
            command=self._command,
            command_line=arguments.command_line,
            execution={
                "Plugin": arguments.plugin,
                "PluginArguments": arguments.plugin_args,
                "Processors": self._settings.n_procs,
            },
        )
        if arguments.provenance and result.graph is not None:
            places = {"work": result.work_dir, "results": top}
            places |= {i: self._files[i] for i in ("bids_dir",) if i in self._files}
            write_prov(result.graph, top / PROV_FOLDER, places)
        # Last, as it lists what lies beside it.
        write_ro_crate(top)
