"""The import-linter contract `may_import`: a row of the table "who may import whom" in pyproject.toml.

import-linter's own contracts forbid what they name; the table allows what it names, and so does this.
"""

import sys

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

# The standard library's modules of values: no clock, chance, input, output or state.
VALUES = {
    *("__future__", "bisect", "calendar", "collections", "dataclasses", "datetime", "enum", "fractions"),
    *("functools", "hashlib", "itertools", "math", "typing"),
}
GROUPS = {"values": VALUES, "standard library": sys.stdlib_module_names}


class MayImport(Contract):
    """Kept when each of `modules`, with all below it, directly imports nothing but itself and `may_import`.

    A member of `may_import` is a package (which allows all below it), a third party's top-level name, or one
    of GROUPS. Each of `modules` has to exist, so that a renamed module cannot slip out of its row.
    """

    modules: list[str] = fields.ListField(subfield=fields.StringField())  # type: ignore[assignment] # a descriptor in all but name
    may_import: list[str] = fields.ListField(subfield=fields.StringField())  # type: ignore[assignment] # the same

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 - the signature is import-linter's
        """Collects every direct import that no member of `may_import` allows."""
        complaints = [f"{root} does not exist" for root in self.modules if root not in graph.modules]
        for root in graph.modules & set(self.modules):
            for module in {root} | graph.find_descendants(root):
                complaints += self.complaints_about(module, root, graph)
        return ContractCheck(kept=not complaints, metadata={"complaints": sorted(complaints)})

    def complaints_about(self, module: str, root: str, graph: ImportGraph) -> list[str]:
        """A line for each import of `module`, which lies in `root`, that is not allowed."""
        return [
            f"{module} may not import {imported} (line {detail['line_number']})"
            for imported in graph.find_modules_directly_imported_by(module)
            if not any(allows(member, imported) for member in (root, *self.may_import))
            for detail in graph.get_import_details(importer=module, imported=imported)
        ]

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Prints a line for each complaint."""
        for complaint in check.metadata["complaints"]:
            output.print_error(complaint)


def allows(member: str, imported: str) -> bool:
    """Whether `member` of a row allows the import of `imported`."""
    if member in GROUPS:
        return imported in GROUPS[member]
    return imported == member or imported.startswith(f"{member}.")
