"""Lists of files on their way from one stage to the next."""

import hashlib

from nipype.interfaces.base import DynamicTraitedSpec, isdefined, traits
from nipype.interfaces.io import IOBase, add_traits


class _GatherResultsInputSpec(DynamicTraitedSpec):
    picks = traits.Dict(desc="positions of the items that a list keeps, by its name; default: all")

    def get_hashval(self, hash_method: str | None = None) -> tuple[list[tuple[str, str]], str]:
        """Return the inputs and their hash; no file is read.

        What is passed on are the values, paths among them. Nipype hashes what files hold instead,
        and then passes on the paths of files that held the same in an earlier run.
        """
        given = sorted(self.trait_get().items())
        items = [(name, repr(value)) for name, value in given if isdefined(value)]
        return items, hashlib.md5(repr(items).encode()).hexdigest()


class GatherResults(IOBase):
    """Gather the lists of several stages by their names.

    The list NAME holds the items of the inputs NAME_1, NAME_2, ..., lists within lists included,
    or those of them whose positions `picks` names, in its order and as often as it does.

    Parameters
    ----------
    sources : dict of str to int
        Names of the lists, and of how many inputs each is made.

    Examples
    --------
    >>> from nipype_group.interfaces.routing import GatherResults
    >>> gather = GatherResults({"maps": 2, "masks": 1}, picks={"masks": [1, 0, 0]})
    >>> _ = gather.inputs.trait_set(maps_1="a", maps_2=["b", ["c"]], masks_1=["x", "y"])
    >>> outputs = gather.run().outputs
    >>> outputs.maps, outputs.masks
    (['a', 'b', 'c'], ['y', 'x', 'x'])
    """

    input_spec = _GatherResultsInputSpec
    output_spec = DynamicTraitedSpec

    def __init__(self, sources=None, **inputs):
        super().__init__(**inputs)
        self._sources = dict(sources or {})
        add_traits(self.inputs, list(self._inputs_by_place()))

    def _inputs_by_place(self):
        for name, number in self._sources.items():
            for place in range(1, number + 1):
                yield f"{name}_{place}"

    def _add_output_traits(self, base):
        return add_traits(base, list(self._sources))

    def _list_outputs(self):
        picks = self.inputs.picks if isdefined(self.inputs.picks) else {}
        outputs = {}
        for name, number in self._sources.items():
            given = (getattr(self.inputs, f"{name}_{i}") for i in range(1, number + 1))
            items = [item for value in given if isdefined(value) for item in _leaves(value)]
            outputs[name] = [items[place] for place in picks.get(name, range(len(items)))]
        return outputs


def _leaves(value):
    if not isinstance(value, (list, tuple)):
        return [value]
    return [leaf for item in value for leaf in _leaves(item)]


__all__ = ["GatherResults"]
