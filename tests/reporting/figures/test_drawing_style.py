"""Resolution, formats, cuts and paper of figures."""

import io

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from nipype_group.interfaces import PlotResults
from nipype_group.reporting.figures.canvas import Scale, Sheet, page_sized
from nipype_group.reporting.figures.style import Style, drawn_in, parse_cuts
from nipype_group.settings.figures import FigureSettings

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def drawn(path, **style):
    """Draw a sheet with a title, a square of four by four pixels of the layout and a bar."""
    with drawn_in(Style(**style)):
        sheet = Sheet(300, 100, "A title")
        side = round(4 * Style(**style).magnification)
        sheet.paste(np.full((side, side, 3), (200, 30, 30), np.uint8), 40, 50)
        sheet.colour_bar(Scale(1.0, 3.0), "z", 20, 60)
        sheet.save(path)
    return path


def test_print_has_the_layout_of_the_page_in_more_pixels(tmp_path):
    page = Image.open(drawn(tmp_path / "a.png"))
    fine = Image.open(drawn(tmp_path / "b.png", dpi=300))
    assert fine.size == tuple(3 * n for n in page.size)
    assert fine.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    places = []
    for image in (page, fine):
        # Left of the colour bar.
        red = np.asarray(image.convert("RGB"))[:, : image.width // 2]
        red = np.argwhere((red == (200, 30, 30)).all(axis=-1))
        places.append((red.min(axis=0), red.max(axis=0) + 1))
    np.testing.assert_array_equal(3 * np.array(places[0]), places[1])
    # Letters and lines grow too: as dark on the whole.
    ink = [1 - np.asarray(image.convert("L"), dtype=float).mean() / 255 for image in (page, fine)]
    assert ink[1] == pytest.approx(ink[0], rel=0.1)


def test_the_page_has_its_own_size_of_figures(tmp_path):
    page = drawn(tmp_path / "a.png").read_bytes()
    assert page_sized(page) == page
    shown = Image.open(io.BytesIO(page_sized(drawn(tmp_path / "b.png", dpi=250).read_bytes())))
    assert shown.size == Image.open(io.BytesIO(page)).size


def test_vectors_stand_beside_and_are_equal_each_time(tmp_path):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        drawn(tmp_path / folder / "a.png", formats=("svg", "pdf"))
    for name, start in (("a.svg", b"<?xml"), ("a.pdf", b"%PDF"), ("a.png", b"\x89PNG")):
        one, other = ((tmp_path / f / name).read_bytes() for f in ("one", "other"))
        assert one == other
        assert one.startswith(start)


def test_black_paper_has_white_words(tmp_path):
    pixels = np.asarray(Image.open(drawn(tmp_path / "a.png", background="black")).convert("L"))
    assert np.median(pixels) == 0
    assert pixels[:20].max() == 255


@pytest.mark.parametrize("word", ["q:1", "z:1,a", "z:nan", "z:0", "x:41", "z:", "z", "y:1e9"])
def test_cuts_that_are_none_are_refused(word):
    with pytest.raises(ValueError, match=r"^figure_cuts '"):
        FigureSettings(figure_cuts=(word,))


def test_an_axis_is_told_once():
    with pytest.raises(ValueError, match="has z twice"):
        parse_cuts(["z:3", "x:peaks", "z:1,2"])
    with pytest.raises(ValueError, match="names one twice"):
        FigureSettings(figure_format=("svg", "svg"))


def test_slices_lie_where_they_are_asked_for(tmp_path):
    values = np.zeros((16, 18, 14), dtype=np.float32)
    values[4:6, 5:8, 6:9] = 5
    for name, array in (("map", values), ("mask", np.ones_like(values))):
        nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / f"{name}.nii.gz")
    result = PlotResults(
        thresholded_files=[str(tmp_path / "map.nii.gz")],
        names=["contrast-a_desc-fdrBH"],
        detailed=["contrast-a_desc-fdrBH"],
        mask_file=str(tmp_path / "mask.nii.gz"),
        space="own",
        cuts=["z:24,28", "x:18mm", "y:3"],
        formats=["png", "pdf"],
    ).run(cwd=str(tmp_path))
    names = [path.rpartition("desc-fdrBH_")[2] for path in result.outputs.figure_files]
    slices = ["slices", "slicesy", "slicesx"]
    assert names[:6] == [f"{name}.{end}" for name in slices for end in ("png", "pdf")]
    for place, there in ((4, True), (2, False)):
        # The plane across x goes through the blob, the three across y pass it.
        image = np.asarray(Image.open(result.outputs.figure_files[place]).convert("RGB"))
        coloured = (np.ptp(image.astype(int), axis=-1) > 60)[:, :800]
        assert (coloured.sum() > 100) == there
