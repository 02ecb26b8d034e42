"""What a results folder says enters the methods text as it is."""

from types import SimpleNamespace

from nipype_group.controls import CONTROLS
from nipype_group.reporting.page import methods as methods_text


def test_the_name_of_a_package_is_no_format():
    settings = {"CorrectedBy": "{alpha.__class__} {x} %s", "Alpha": 0.05, "Tail": "positive"}
    text = methods_text._Text()
    result = SimpleNamespace(control=CONTROLS["permutation-extent"], settings=settings)
    methods_text._inference(text, [result])
    (sentence,) = text.sentences
    assert "(the positive side) were corrected" in sentence
    assert "by permutation in {alpha.__class__} {x} %s [1] at .05." in sentence
