"""Puts routes in an order in which each can be reached: FastAPI answers with the first route that matches.

`/pets/mine` must come before `/pets/{pet_id}`, also when the two have different tags and so live in different modules.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar
from urllib.parse import unquote

from demo_agent.plans import Plan

T = TypeVar("T", bound=Hashable)


def arrange(plans: Sequence[Plan], *, module_of: Callable[[Plan], str]) -> dict[str, list[Plan]]:
    """Return the routes by module, modules and routes in the order in which they have to be added.

    Modules that would each have to come before the other become one. A route that matches the same requests as an
    earlier one is marked as excluded: it cannot be reached.
    """
    before = _constraints(plans)
    ordered = _sorted(range(len(plans)), before=before)
    modules = {index: module_of(plans[index]) for index in ordered}
    while True:
        names = list(dict.fromkeys(modules[index] for index in sorted(modules)))
        between = {(modules[one], modules[two]) for one, two in before if modules[one] != modules[two]}
        cycle = _cycle(names, before=between)
        if not cycle:
            break
        modules = {index: cycle[0] if name in cycle else name for index, name in modules.items()}
    arranged = _sorted(names, before=between)
    return {name: [plans[index] for index in ordered if modules[index] == name] for name in arranged}


def _constraints(plans: Sequence[Plan]) -> set[tuple[int, int]]:
    """Return the pairs of which the first must come before the second."""
    groups: dict[tuple[str, int], list[int]] = {}
    for index, plan in enumerate(plans):
        groups.setdefault((plan.operation.method, plan.path.count("/")), []).append(index)
    result: set[tuple[int, int]] = set()
    for group in groups.values():
        found = _captures(plans, group)
        ambiguous = {index for one, two in found if (two, one) in found for index in (one, two)}
        if ambiguous:
            for index in ambiguous:
                plans[index].narrow()
            found = _captures(plans, group)
        result |= found
    for one, two in sorted(result):
        if one < two and (two, one) in result:
            result -= {(one, two), (two, one)}
            if plans[two].excluded is None:
                plans[two].excluded = f"it matches the same requests as {plans[one].operation.path}, listed before it"
    return result


def _captures(plans: Sequence[Plan], group: Sequence[int]) -> set[tuple[int, int]]:
    """Return the pairs of which the second's pattern matches the first's requests."""
    urls = {index: unquote(plans[index].url) for index in group}
    result: set[tuple[int, int]] = set()
    for wide in group:
        if "{" in plans[wide].path:
            pattern = plans[wide].pattern
            result |= {(one, wide) for one in group if one != wide and pattern.fullmatch(urls[one])}
    return result


def _sorted(items: Iterable[T], *, before: set[tuple[T, T]]) -> list[T]:
    """Sort topologically, otherwise keeping the order; a cycle is broken at its first item."""
    waiting = list(items)
    predecessors: dict[T, set[T]] = {item: set() for item in waiting}
    for one, two in before:
        predecessors[two].add(one)
    result: list[T] = []
    done: set[T] = set()
    while waiting:
        item = next((item for item in waiting if predecessors[item] <= done), waiting[0])
        waiting.remove(item)
        done.add(item)
        result.append(item)
    return result


def _cycle(items: Iterable[T], *, before: set[tuple[T, T]]) -> list[T]:
    following: dict[T, list[T]] = {item: [] for item in items}
    for one, two in before:
        following[one].append(two)
    order = {item: index for index, item in enumerate(following)}
    for start in following:
        seen = {start}
        trail = [[start]]
        while trail:
            path = trail.pop()
            for item in sorted(following[path[-1]], key=order.__getitem__):
                if item == start:
                    return sorted(path, key=order.__getitem__)
                if item not in seen:
                    seen.add(item)
                    trail.append([*path, item])
    return []
