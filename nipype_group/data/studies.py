"""What the demonstration datasets hold: subjects, conditions, and the effects planted in them.

Coordinates are MNI in mm, on voxel centres of the 3 mm grid; sizes in percent signal change.
"""

from dataclasses import dataclass, field

# Slopes act on scores centred here, so that they do not shift the mean.
MEAN_SCORE, SD_SCORE = 60, 12


@dataclass(frozen=True)
class Plant:
    """A Gaussian blob of activation.

    Parameters
    ----------
    name : str
        Place.
    xyz_mm : tuple of int
        Centre.
    effect : float
        Value of the contrast at the centre, before smoothing; per word per minute where the
        contrast is "pseudo", per year where it is "years" or "groupByYears".
    contrast : str
        What the effect shows in: "mean", "pseudo", a comparison of conditions, "years" (change of
        everybody) or "groupByYears" (what patients change more).
    weights : dict
        Share of the effect in the maps of each condition; 0 where a condition is absent.
    fwhm_mm : float
        Full width at half maximum.
    """

    name: str
    xyz_mm: tuple
    effect: float
    contrast: str
    weights: dict
    fwhm_mm: float = 11.0


@dataclass(frozen=True)
class Study:
    """A dataset.

    Parameters
    ----------
    title : str
        One line for people.
    entities : str
        Middle of the map names, with {space}.
    n_subjects : int
        Subjects.
    plants : tuple of Plant
        Everything planted.
    conditions : tuple of str
        Labels of `desc`, one map each; a single empty label where a subject has one map.
    noise_between, noise_within : float
        Standard deviation of the noise a subject's maps share, and of each map's own.
    noise_slope : float
        Standard deviation of a subject's own change, a year.
    dropout : dict
        Share of a group that comes to no further visit, after each; empty without visits.
    most_visits : int
        Visits, about a year apart, of who never drops out.
    """

    title: str
    entities: str
    n_subjects: int
    plants: tuple
    conditions: tuple = ("",)
    noise_between: float = 0.5
    noise_within: float = 0.0
    noise_slope: float = 0.0
    dropout: dict = field(default_factory=dict)
    most_visits: int = 1


def _plants(contrast, weights, places, fwhm_mm=11.0):
    return tuple(Plant(n, xyz, effect, contrast, weights, fwhm_mm) for n, xyz, effect in places)


def _everywhere(conditions=("",)):
    return dict.fromkeys(conditions, 1.0)


def _levels(plus, minus):
    """Share a main effect: half of it up in the cells of one level, half down in the other's."""
    shares = {plus: 0.5, minus: -0.5}
    return {cell: s for cell in CELLS for level, s in shares.items() if level in cell.lower()}


CHECKERBOARDS = ("vertical", "horizontal")
CATEGORIES, TASKS = ("faces", "houses", "tools"), ("passive", "oneback", "naming")
CELLS = tuple(category + task.title() for category in CATEGORIES for task in TASKS)

_READING = Study(
    "Reading words against rest, 94 readers",
    "task-reading_space-{space}_contrast-wordsVsRest_stat-effect",
    94,
    _plants(
        "pseudo",
        _everywhere(),
        (
            ("left fusiform gyrus (visual word form area)", (-44, -56, -15), 0.036),
            ("left superior temporal gyrus", (-56, -38, 12), 0.036),
            ("left inferior frontal gyrus", (-47, 25, 12), 0.03),
            ("left precentral gyrus", (-44, -5, 48), 0.036),
            ("right cerebellum VI", (25, -65, -27), 0.036),
            ("right angular gyrus", (46, -62, 36), 0.034),
        ),
    )
    + _plants(
        "mean",
        _everywhere(),
        (
            ("left occipital pole", (-23, -95, -3), 1.0),
            ("right occipital pole", (25, -92, -3), 1.0),
            ("left fusiform gyrus (visual word form area)", (-44, -56, -15), 0.8),
            ("left inferior frontal gyrus", (-47, 25, 12), 0.8),
            ("supplementary motor area", (-2, 4, 60), 0.8),
        ),
    ),
)

_MERIDIANS = Study(
    title="Vertical and horizontal checkerboards, 16 subjects",
    entities="task-localizer_space-{space}_stat-effect",
    n_subjects=16,
    plants=_plants(
        "verticalVsHorizontal",
        {"vertical": 0.5, "horizontal": -0.5},
        (
            ("right lingual gyrus", (10, -74, -6), 1.2),
            ("left cuneus", (-5, -89, 24), 1.2),
            ("left middle occipital gyrus", (-35, -86, 3), -1.2),
            ("right middle occipital gyrus", (34, -86, 6), -1.2),
        ),
    )
    + _plants(
        "mean",
        _everywhere(CHECKERBOARDS),
        (("left calcarine", (-8, -92, 0), 1.5), ("right calcarine", (10, -92, 0), 1.5)),
    ),
    conditions=CHECKERBOARDS,
    noise_within=0.3,
)

_HANDS = Study(
    "Left against right button press, 20 subjects",
    "task-localizer_space-{space}_contrast-leftVsRightButtonPress_stat-effect",
    20,
    _plants(
        "mean",
        _everywhere(),
        (
            ("right motor cortex", (40, -23, 54), 1.2),
            ("left motor cortex", (-38, -23, 54), -1.2),
            ("left cerebellum V", (-17, -53, -21), 1.0),
            ("right cerebellum V", (19, -53, -21), -1.0),
            ("right rolandic operculum", (43, -20, 18), 0.8),
        ),
        fwhm_mm=13.0,
    ),
)

_OBJECTS = Study(
    title="Three categories seen in three tasks, 16 subjects",
    entities="task-objects_space-{space}_stat-effect",
    n_subjects=16,
    plants=_plants(
        "facesVsHouses",
        _levels("faces", "houses"),
        (
            ("right fusiform gyrus (face area)", (43, -50, -18), 0.8),
            ("left parahippocampal gyrus (place area)", (-26, -44, -9), -0.8),
        ),
    )
    + _plants(
        "namingVsPassive",
        _levels("naming", "passive"),
        (("left inferior frontal gyrus", (-50, 19, 15), 0.8),),
    )
    + _plants(
        "facesVsHousesByNamingVsPassive",
        {"facesNaming": 0.25, "facesPassive": -0.25, "housesNaming": -0.25, "housesPassive": 0.25},
        (("left temporal pole", (-41, 10, -30), 1.8),),
    )
    + _plants(
        "mean",
        _everywhere(CELLS),
        (("left occipital", (-29, -89, 0), 1.0), ("right occipital", (31, -86, 0), 1.0)),
    ),
    conditions=CELLS,
    noise_within=0.4,
)

_AGEING = Study(
    title="Remembering over one to four yearly visits, 30 patients and 30 controls",
    entities="task-memory_space-{space}_contrast-rememberVsRest_stat-effect",
    n_subjects=60,
    plants=_plants(
        "groupByYears",
        _everywhere(),
        (
            ("left hippocampus", (-26, -20, -15), -0.7),
            ("right hippocampus", (28, -20, -15), -0.7),
            ("left middle frontal gyrus", (-38, 31, 33), 0.7),
        ),
        fwhm_mm=13.0,
    )
    + _plants(
        "years",
        _everywhere(),
        (("precuneus", (-2, -59, 39), -0.6), ("right superior frontal gyrus", (22, 25, 51), 0.6)),
        fwhm_mm=13.0,
    )
    + _plants(
        "mean",
        _everywhere(),
        (("left occipital", (-29, -89, 0), 1.0), ("right occipital", (31, -86, 0), 1.0)),
    ),
    noise_within=0.4,
    noise_slope=0.15,
    dropout={"control": 0.25, "patient": 0.35},
    most_visits=4,
)

STUDIES = {
    "association": _READING,
    "paired_two_sample": _MERIDIANS,
    "all_resolutions": _HANDS,
    "repeated_measures_anova": _OBJECTS,
    "longitudinal": _AGEING,
}
