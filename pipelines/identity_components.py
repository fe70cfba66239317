"""Which edges can have to do with each other: connected components of identifiers, by their keys."""

from __future__ import annotations

import numpy as np

from pipelines.kernel import kernel

I64 = np.ndarray[tuple[int], np.dtype[np.int64]]
Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]


@kernel
def _unite(one: I64, other: I64, parent: I64) -> None:
    """Union-find with path halving; afterwards ``parent`` of each node is its component's smallest node."""
    for edge in range(len(one)):
        low, high = one[edge], other[edge]
        while parent[low] != low:
            parent[low] = parent[parent[low]]
            low = parent[low]
        while parent[high] != high:
            parent[high] = parent[parent[high]]
            high = parent[high]
        if low < high:
            parent[high] = low
        else:
            parent[low] = high
    for node in range(len(parent)):  # a node's parent is never above it, so it is done already
        parent[node] = parent[parent[node]]


def components(key: I64, to_key: I64) -> I64:
    """The component of each edge: the smallest key in it.

    Args:
        key: of the first identifier of each edge.
        to_key: of the second.
    """
    if not len(key):
        return key
    nodes, index = np.unique(np.concatenate([key, to_key]), return_inverse=True)
    index = index.astype(np.int64)
    parent = np.arange(len(nodes), dtype=np.int64)
    _unite(index[: len(key)], index[len(key) :], parent)
    found: I64 = nodes[parent[index[: len(key)]]]
    return found


def affected(key: I64, to_key: I64, changed: I64) -> Bools:
    """Which edges stand in a component that some identifiers are in.

    Args:
        key: of the first identifier of each edge that is known, new ones included.
        to_key: of the second.
        changed: keys of identifiers that new edges name, or that messages now state.
    """
    labels = components(key, to_key)
    named = np.isin(key, changed) | np.isin(to_key, changed)
    return np.isin(labels, labels[named])


def among(values: I64, keys: I64) -> Bools:
    """Which values are among some keys (ascending): quicker than ``np.isin`` where these are few."""
    if not len(keys):
        return np.zeros(len(values), np.bool_)
    found: Bools = keys[np.minimum(np.searchsorted(keys, values), len(keys) - 1)] == values
    return found
