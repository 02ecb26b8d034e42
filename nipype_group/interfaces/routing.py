"""Lists of files on their way from one stage to the next."""

import hashlib

from nipype.interfaces.base import isdefined
from nipype.interfaces.utility import Merge, Select
from nipype.interfaces.utility.base import MergeInputSpec, SelectInputSpec


class _ValuesDecide:
    """Mixin over an input spec: what is passed on are the values, paths among them.

    Nipype hashes what files hold instead, and then passes on the paths of files that held the
    same in an earlier run.
    """

    def get_hashval(self, hash_method=None):
        """Return the inputs and their hash; no file is read."""
        given = sorted(self.trait_get().items())
        items = [(name, repr(value)) for name, value in given if isdefined(value)]
        return items, hashlib.md5(repr(items).encode()).hexdigest()


class _JoinListsInputSpec(_ValuesDecide, MergeInputSpec):
    pass


class JoinLists(Merge):
    """Join lists into one; Nipype's Merge with a hash that can be trusted.

    Examples
    --------
    >>> from nipype_group.interfaces.routing import JoinLists
    >>> join = JoinLists(2)
    >>> join.inputs.in1, join.inputs.in2 = ["a"], ["b", "c"]
    >>> join.run().outputs.out
    ['a', 'b', 'c']
    """

    input_spec = _JoinListsInputSpec


class _PickItemsInputSpec(_ValuesDecide, SelectInputSpec):
    pass


class PickItems(Select):
    """Pick items of a list; Nipype's Select with a hash that can be trusted.

    Examples
    --------
    >>> from nipype_group.interfaces.routing import PickItems
    >>> PickItems(inlist=["a", "b", "c"], index=[2, 0, 0]).run().outputs.out
    ['c', 'a', 'a']
    """

    input_spec = _PickItemsInputSpec


__all__ = ["JoinLists", "PickItems"]
