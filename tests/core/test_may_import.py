"""The contract behind the table "who may import whom": a table nobody enforces is worse than none."""

from grimp import ImportGraph

from tests.may_import import MayImport


def test_a_row_allows_its_own_package_its_members_and_nothing_else() -> None:
    graph = ImportGraph()
    graph.add_module("hub.core")
    for imported in (
        "hub.core.rates",
        "hub.words.english",
        "math",
        "hub.wordsmith",
        "hub.store",
        "time",
        "grpc",
    ):
        graph.add_import(importer="hub.core.planner", imported=imported, line_number=7, line_contents="")

    check = row(modules=["hub.core"], may_import=["values", "hub.words"]).check(graph, verbose=False)

    assert not check.kept
    assert check.metadata["complaints"] == [
        "hub.core.planner may not import grpc (line 7)",
        "hub.core.planner may not import hub.store (line 7)",
        "hub.core.planner may not import hub.wordsmith (line 7)",
        "hub.core.planner may not import time (line 7)",
    ]


def test_a_row_is_kept_when_every_import_is_allowed() -> None:
    graph = ImportGraph()
    graph.add_import(importer="hub.store", imported="sqlite3", line_number=1, line_contents="")

    check = row(modules=["hub.store"], may_import=["standard library"]).check(graph, verbose=False)

    assert check.kept


def test_a_row_about_a_module_that_is_gone_is_broken() -> None:
    check = row(modules=["hub.core"], may_import=["values"]).check(ImportGraph(), verbose=False)

    assert check.metadata["complaints"] == ["hub.core does not exist"]


def row(modules: list[str], may_import: list[str]) -> MayImport:
    return MayImport("row", {}, {"modules": modules, "may_import": may_import})
