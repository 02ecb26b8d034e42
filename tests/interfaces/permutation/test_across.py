"""CorrectAcrossMaps: maps of several runs are corrected together."""

import json
from pathlib import Path

import numpy as np
import pytest
from permutation_outputs import read

from nipype_group.interfaces import CorrectAcrossMaps


def test_maps_of_several_runs_are_corrected_together(stages, permute, tmp_path, monkeypatch):
    ran = stages("age + C(group)", ["age=age", "drop=control - patient"])
    plan, alone = permute(ran, "alone", n_permutations=60)
    _, together = permute(ran, "together", n_permutations=60, merge={"across_contrasts": True})
    monkeypatch.chdir(tmp_path)
    given = {
        "stat_files": alone.stat_files,
        "nulldist_files": alone.nulldist_files,
        "scheme_files": [plan.scheme_file] * 2,
        "contrast_names": ["age", "drop"],
        "mask_files": [ran.mask.mask_file] * 2,
        "names": ["first", "second"],
    }
    found = CorrectAcrossMaps(**given).run().outputs
    for ours, theirs in zip(found.logp_fwe_files, together.logp_fwe_files, strict=True):
        np.testing.assert_allclose(read(ours), read(theirs), rtol=1e-6, atol=1e-7)
    summaries = [json.loads(Path(p).read_text()) for p in together.summary_files]
    np.testing.assert_allclose(found.map_ps, [s["ContrastP"] for s in summaries])
    other, rerun = permute(ran, "other", n_permutations=60, seed=9)
    mixed = given | {"scheme_files": [plan.scheme_file, other.scheme_file]}
    with pytest.raises(ValueError, match="shuffle in different ways"):
        CorrectAcrossMaps(**mixed).run()
    _, fewer = permute(ran, "fewer", n_permutations=50)
    mixed = given | {"nulldist_files": [alone.nulldist_files[0], fewer.nulldist_files[1]]}
    with pytest.raises(ValueError, match="have 61, 51 shuffles"):
        CorrectAcrossMaps(**mixed).run()
    with pytest.raises(ValueError, match="no contrast 'sex'"):
        CorrectAcrossMaps(**given | {"contrast_names": ["age", "sex"]}).run()
    with pytest.raises(ValueError, match="one item of each for every map: mask_files"):
        CorrectAcrossMaps(**given | {"mask_files": [ran.mask.mask_file]}).run()
    with pytest.raises(ValueError, match="has no column 'tfce_positive'"):
        CorrectAcrossMaps(**given, statistic="tfce").run()
