"""Who may import whom (docs/architecture.md), held by the syntax trees. A change of this table is a change of the design."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipeline", "generation", "pretrain", "finetune")
ORCHESTRATION = {f"pipeline.{name}" for name in ("graph", "slurm", "cli", "hand_over", "local", "workers", "describe", "survey", "demo")}
HEAVY = {"torch", "diffusers", "transformers", "mediapipe", "deepspeed", "webdataset", "pyarrow", "cv2", "datasets", "jax", "matplotlib"}
CONTRACTS_MAY = {"numpy"}
PIPELINE_MAY = {"numpy", "yaml", "dacite", "click", "rich"}
SINGLE_IMPORTERS = {  # libraries that one file of the package may load, and late
    "pipeline/tables.py": {"pyarrow"},
    "pipeline/record_cache.py": {"orjson"},
    "pipeline/pictures.py": {"PIL"},
    "pipeline/pages.py": {"jinja2"},
    "pipeline/figures.py": {"matplotlib"},
}
DEMO_MAY = PIPELINE_MAY | {"matplotlib", "PIL"}  # its report draws; it loads them late


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path, top_level_only: bool = False) -> Iterator[tuple[str, int]]:
    """(module, line) of every import at any depth; `from a import b` counts as a.b, since b may be a module.

    top_level_only leaves out what runs only inside functions or for the type checker.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late: set[ast.AST] = set()
    if top_level_only:
        for node in ast.walk(tree):
            typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            if typing_only or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                late.update(ast.walk(node))
    for node in ast.walk(tree):
        if node in late:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write the whole name"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def wrong(paths: list[Path], is_wrong, **options) -> list[str]:
    found = [(path, name, line) for path in paths for name, line in imports(path, **options) if is_wrong(name)]
    return [f"{path.relative_to(ROOT)}:{line} imports {name}" for path, name, line in found]


def of(name: str, roots: set[str] | tuple[str, ...]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def foreign(name: str, allowed: set[str]) -> bool:
    top = name.split(".")[0]
    return top not in sys.stdlib_module_names and top not in allowed


def test_the_contracts_import_the_standard_library_and_numpy_only():
    folder = ROOT / "pipeline" / "contracts"
    assert wrong(sorted(folder.rglob("*.py")), lambda n: not of(n, ("pipeline.contracts",)) and foreign(n, CONTRACTS_MAY)) == []


def test_the_pipeline_imports_no_sibling_and_few_libraries():
    demo = ROOT / "pipeline" / "demo"
    for path in modules("pipeline"):
        allowed = {"pipeline"} | (DEMO_MAY if path.is_relative_to(demo) else PIPELINE_MAY)
        allowed |= SINGLE_IMPORTERS.get(path.relative_to(ROOT).as_posix(), set())
        assert wrong([path], lambda n, allowed=allowed: foreign(n, allowed)) == []


@pytest.mark.parametrize(
    ("package", "siblings"),
    [("generation", ("pretrain", "finetune")), ("pretrain", ("generation", "finetune")), ("finetune", ("generation",))],
)
def test_work_imports_neither_its_siblings_nor_orchestration(package, siblings):
    assert wrong(modules(package), lambda n: of(n, siblings) or of(n, ORCHESTRATION)) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_heavy_libraries_are_not_imported_where_a_command_line_starts(package):
    entry_points = [p for p in modules(package) if p.name in ("__main__.py", "cli.py", "config.py")]
    assert wrong(entry_points, lambda n: of(n, HEAVY), top_level_only=True) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_init_files_are_empty(package):
    assert [str(p.relative_to(ROOT)) for p in modules(package) if p.name == "__init__.py" and p.read_text().strip()] == []


def loaded(*arguments: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter has loaded at the end."""
    end = "import sys; sys.stderr.write(' '.join({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", f"{'; '.join(arguments)}; {end}"], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_importing_every_contract_loads_nothing_heavy():
    names = [f"import pipeline.contracts.{p.stem}" for p in sorted((ROOT / "pipeline" / "contracts").glob("[!_]*.py"))]
    assert loaded(*names) & (HEAVY | {"yaml", "click", "dacite", "rich"}) == set()


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--help"], ["doctor", "--json"], ["plan", "absent.yaml"]])
def test_the_command_line_answers_without_heavy_libraries(arguments):
    end = f"from pipeline.entry import call; from pipeline.cli import passerby; call(passerby, {arguments!r}, 'passerby')"
    assert loaded(end) & (HEAVY | {"rich"}) == set()


def test_every_import_form_is_seen(tmp_path):
    path = tmp_path / "m.py"
    path.write_text("import a.b\ndef f():\n    from c import d\n    import e\nif TYPE_CHECKING:\n    import g\n")
    assert {name for name, _ in imports(path)} == {"a.b", "c.d", "e", "g"}
    assert {name for name, _ in imports(path, top_level_only=True)} == {"a.b"}
