"""Refuse import circles between the modules of the package: `python .ci/circles.py`.

A circle is a set of modules each of which imports every other, directly or through others. Imports
inside of functions and those for type checkers alone count: a circle of types is a circle, too.
"""

from __future__ import annotations

import sys

import grimp

PACKAGE = "demask"
KNOWN = 0
"""Modules that are in circles today. Whoever cuts a circle lowers it; at 0 it goes."""


def circles(graph: grimp.ImportGraph) -> list[list[str]]:
    """The circles of a package, each as the sorted names of its modules."""
    found: list[list[str]] = []
    placed: set[str] = set()
    for module in sorted(graph.modules):
        both = graph.find_upstream_modules(module) & graph.find_downstream_modules(module)
        if module not in placed and both - {module}:
            found.append(sorted({module, *both}))
            placed |= {module, *both}
    return found


def lines_of(graph: grimp.ImportGraph, circle: list[str]) -> list[str]:
    """The import statements within a circle, as ``module:line: statement``."""
    return [
        f"  {importer}:{detail['line_number']}: {detail['line_contents'].strip()}"
        for importer in circle
        for imported in circle
        for detail in graph.get_import_details(importer=importer, imported=imported)
    ]


def verdict(graph: grimp.ImportGraph, known: int) -> tuple[list[str], bool]:
    """What to print, and whether it is well: no more and no fewer modules in circles than known."""
    found = circles(graph)
    count = sum(map(len, found))
    lines = []
    for circle in found:
        lines += [f"A circle of {len(circle)} modules:", *lines_of(graph, circle)]
    lines.append(f"{len(found)} import circles with {count} modules; known: {known} modules.")
    if count > known:
        lines.append("A module came into a circle: move what both need into a module of its own.")
    if count < known:
        lines.append(f"Fewer than known, thank you: set KNOWN to {count} in .ci/circles.py.")
    return lines, count == known


def main() -> int:
    """Print the circles; the exit code says whether there are as many as known."""
    lines, well = verdict(grimp.build_graph(PACKAGE, cache_dir=None), KNOWN)
    print("\n".join(lines[-1:] if well else lines))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
