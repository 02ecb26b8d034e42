"""A progress bar over the nodes of a run."""

from tqdm import tqdm


class _Nothing:
    """What a worker process sees of the bar; called, it does nothing."""

    def __call__(self, node, status):
        pass


class NodeProgress:
    """A bar that Nipype's status callback moves.

    Nipype pickles the callback with the items of a MapNode and copies it with the nodes, so the
    bar stays in this process and travels as nothing.

    Parameters
    ----------
    names : set of str
        Full names of the nodes that count.
    show : bool
        Whether the bar is drawn.
    """

    def __init__(self, names, show):
        self._waiting = set(names)
        self._bar = tqdm(total=len(names), unit="node", disable=not show, leave=False)

    def __reduce__(self):
        return (_Nothing, ())

    def __deepcopy__(self, memo):
        return self

    def __call__(self, node, status):
        """Take one event of one node."""
        name = node.fullname
        if status == "start":
            self._bar.set_postfix_str(node.name.lstrip("_"), refresh=True)
        elif name in self._waiting:
            self._waiting.discard(name)
            self._bar.update()

    def close(self):
        """Take the bar away."""
        self._bar.close()
