"""Settings of tables, figures and report, and of how an analysis runs."""

from nipype_group.choices import ALSO_WRITTEN, CONVENTIONS, EVERYTHING, NO_ATLAS
from nipype_group.settings.figures import FigureSettings
from nipype_group.settings.records import Record, names_of, record, setting

_GROUP = {"group": "report"}
_MOST_PROCESSORS = 100_000


@record
class ReportedSettings(FigureSettings):
    """What is told of any results."""

    atlases: tuple[str, ...] | None = setting(
        None,
        "atlases of the tables, or none; default AAL, Desikan-Killiany, Harvard-Oxford",
        option="--atlas",
        metavar="NAME|FILE",
        many="words",
        **_GROUP,
    )
    space: str | None = setting(
        None, "space of the maps, for the file names", option="--space", metavar="S", **_GROUP
    )
    table_views: tuple[str, ...] = setting(
        (),
        f"tables also as {', '.join(CONVENTIONS)} lay them out",
        option="--table-view",
        metavar="NAME[,NAME...]",
        choices=CONVENTIONS,
        parse=names_of,
        changes_results=False,
        **_GROUP,
    )
    also_write: tuple[str, ...] = setting(
        (),
        f"files that are left out otherwise: {', '.join(ALSO_WRITTEN)}, or {EVERYTHING}",
        option="--also-write",
        metavar="NAME[,NAME...]",
        choices=(*ALSO_WRITTEN, EVERYTHING),
        parse=names_of,
        changes_results=False,
        **_GROUP,
    )
    viewer: bool = setting(
        False,
        "embed an interactive viewer in the report, 0.7 MB a contrast",
        option="--viewer",
        changes_results=False,
        **_GROUP,
    )
    figures: bool = setting(
        True,
        "whether figures are drawn",
        changes_results=False,
        of_machine=True,
        **_GROUP,
    )

    def _complete(self):
        super()._complete()
        self._set(also_write=tuple(dict.fromkeys(self.also_write)))

    def _check(self):
        from nipype_group.reporting.atlases.find import atlas_file
        from nipype_group.reporting.derivatives.folder import check_entity

        super()._check()
        check_entity("space", self.space)
        if len(set(self.table_views)) < len(self.table_views):
            raise ValueError(f"table_views names one twice: {', '.join(self.table_views)}")
        names = self.atlases or ()
        if NO_ATLAS in names and len(names) > 1:
            raise ValueError(f"atlases names {NO_ATLAS} beside others: {', '.join(names)}")
        for name in names:
            if name != NO_ATLAS:
                # Raises where there is none of that name.
                atlas_file(name)

    @property
    def labels_regions(self) -> bool:
        """Whether any atlas is looked up."""
        return self.atlases not in ((), (NO_ATLAS,))

    def read_atlases(self) -> None:
        """Read the labels of the atlases that are named.

        Raises
        ------
        ValueError, FileNotFoundError
            Where an atlas is damaged, or its labels are missing or do not fit its image.
        """
        from nipype_group.reporting.atlases.find import find_atlases

        if self.atlases and NO_ATLAS not in self.atlases:
            find_atlases(self.atlases)


@record
class ReportSettings(ReportedSettings):
    """What is told of results of our own."""

    task: str | None = setting(
        None, "task of the maps, for the file names; default: what the maps' names say", **_GROUP
    )
    regions: bool = setting(
        True,
        "fit no models to the means of atlas regions",
        option="--no-regions",
        **_GROUP,
    )
    nidm: bool = setting(
        False,
        "write a NIDM-Results pack too",
        option="--nidm",
        changes_results=False,
        **_GROUP,
    )

    def _check(self):
        from nipype_group.reporting.derivatives.folder import check_entity

        super()._check()
        check_entity("task", self.task)


@record
class ExecutionSettings(Record):
    """How much of the machine is used."""

    n_procs: int = setting(
        1,
        "threads that a heavy node may use; as --n-procs, default all that are allowed",
        group="execution",
        least=1,
        most=_MOST_PROCESSORS,
        changes_results=False,
        of_machine=True,
    )
