"""The shape of the source: who may import whom, what is never used, how long a file may be."""

import ast
from functools import cache
from pathlib import Path

import pytest

import alexnet

FOLDER = Path(alexnet.__file__).parent

# Bottom to top: a package, or a file at the root, imports from those before it.
ORDER = [
    "text",
    "errors",
    "language",
    "progress",
    "rng",
    "storage",
    "recipes",
    "kernels",
    "models",
    "data",
    "weights",
    "runs",
    "distributed",
    "evaluation",
    "cues",
    "training",
    "report",
    "interpret",
    "export",
    "doctor",
    "experiments",
    "api",
    "lessons",
    "serving",
    "explorer",
    "cli",
    "__main__",
]

# What only people see: imported by nothing below the shell, or only by the pages of its own package.
SHOWN = {
    "report": {"report", "doctor", "experiments", "api"},
    "doctor.page": {"doctor"},
    "experiments.page": {"api"},
    "api.bars": {"api", "cli"},
    "api.notebook": {"api"},
    "cli.terminal": {"cli"},
    **{f"cli.{path.stem}": {"cli"} for path in (FOLDER / "cli").glob("tables*.py")},
}

# Verbs parse and print; the work is asked of the face.
VERBS = [f"cli.{name}" for name in ("data", "demo", "experiments", "export", "interpret", "networks", "runs", "train")]

# Help, recipes, and the work on files must not wait for PyTorch.
WITHOUT_TORCH = (
    *("text", "errors", "language", "rng", "storage", "recipes", "cli.main"),
    *(
        f"data.{name}"
        for name in [
            "image_files",
            "images",
            "samples",
            "sources",
            "exclusions",
            "shards",
            "dataset",
            "remote",
            "prepare",
        ]
    ),
)

LONGEST = 350

NEVER_IMPORTED = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"}
TOLD_OF = ("weights_only", "shell", "allow_pickle")  # arguments that decide whether a call is safe
NEVER_CALLED = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.load", "yaml.load"}

# The lessons' own code is material, as their prose is: cells that tests/lessons runs, no modules.
FILES = sorted(path for path in FOLDER.rglob("*.py") if "course" not in path.parts)
NAMES = {".".join(path.relative_to(FOLDER).with_suffix("").parts): path for path in FILES}
MODULES = [name for name in NAMES if not name.endswith("__init__")]


@cache
def tree_of(name: str) -> ast.Module:
    """A file of the source; read when a test asks, not by every process that only lists the tests."""
    return ast.parse(NAMES[name].read_text())


def module_of(name: str) -> str:
    """`alexnet.data.images.Pixels`, `alexnet.data.images` or `alexnet.data` as the module or package that it names."""
    parts = name.split(".")[1:]
    return next((m for n in range(len(parts), 0, -1) if (m := ".".join(parts[:n])) in MODULES), ".".join(parts[:1]))


def imports(nodes) -> set[str]:
    """Dotted names of what these nodes import; of alexnet's own the modules, as alexnet.PACKAGE.MODULE."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            own_ones = node.module == "alexnet" or str(node.module).startswith("alexnet.")
            found |= {f"alexnet.{module_of(name)}" for name in names} if own_ones else {str(node.module)}
    return found


def own(names: set[str]) -> set[str]:
    return {module_of(name) for name in names if name.startswith("alexnet.")} - {"__version__"}


def package(module: str) -> str:
    """The room of a module: its package, or its own name at the root."""
    return module.partition(".")[0]


def at_import(tree: ast.Module) -> list[ast.stmt]:
    """Statements that run when the module is imported, without those for type checkers."""
    statements: list[ast.stmt] = []
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        statements.append(node)
        if isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
            waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return statements


@cache
def used_by(name: str) -> set[str]:
    """The modules of alexnet that a file imports, wherever in it."""
    return own(imports(ast.walk(tree_of(name))))


def test_every_file_is_read_and_every_package_has_its_place():
    folders = {path.name for path in FOLDER.iterdir() if (path / "__init__.py").exists()}
    assert {package(name) for name in MODULES} == set(ORDER)
    assert folders == {name for name in ORDER if (FOLDER / name).is_dir()}
    for folder in folders:
        assert sum(package(name) == folder for name in MODULES) == len(list((FOLDER / folder).glob("*.py"))) - 1 > 1
    assert not [path for path in FILES if len(path.relative_to(FOLDER).parts) > 2], "packages are two levels at most"
    assert len(MODULES) > 140


@pytest.mark.parametrize("name", MODULES)
def test_imports_follow_one_order_of_packages(name):
    below = ORDER[: ORDER.index(package(name))]
    assert {used for used in used_by(name) if package(used) not in (*below, package(name))} == set()


def test_within_a_package_imports_go_one_way_too():
    """No module reaches itself, whichever way."""
    for name in MODULES:
        reached, waiting = set(), list(used_by(name))
        while waiting:
            module = waiting.pop()
            if module not in reached:
                reached.add(module)
                waiting += used_by(module) if module in NAMES else ()
        assert name not in reached


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("__init__")])
def test_opening_a_package_imports_nothing(name):
    assert imports(at_import(tree_of(name))) <= {"importlib", "typing"}


@pytest.mark.parametrize("shown", SHOWN)
def test_what_shows_things_to_people_is_used_only_where_it_may(shown):
    users = {package(name) for name in NAMES if {u for u in used_by(name) if u == shown or package(u) == shown}}
    assert users <= SHOWN[shown]


@pytest.mark.parametrize("name", VERBS)
def test_no_verb_reaches_around_the_face_for_the_work(name):
    assert {package(used) for used in used_by(name)} <= {
        "api",
        "cli",
        "errors",
        "language",
        "text",
        "storage",
    }  # storage: names of files
    assert "alexnet" in imports(ast.walk(tree_of(name)))


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_pytorch_is_not_needed_for_help_and_files(name):
    reached, waiting = set(), [module for module in MODULES if module == name or package(module) == name]
    assert waiting
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += own(imports(at_import(tree_of(module)))) & set(NAMES)
    heavy = {
        f"{module} imports {found}"
        for module in reached
        for found in imports(at_import(tree_of(module)))
        if found.split(".")[0] in ("torch", "torchvision", "safetensors", "matplotlib", "rich", "sklearn")
    }
    assert heavy == set()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_could_run_foreign_code_is_used(name):
    found = {module for module in imports(ast.walk(tree_of(name))) if module.split(".")[0] in NEVER_IMPORTED}
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords if k.arg in TOLD_OF}
            safe = (name, called) == ("weights.pickles", "torch.load") and keywords.get("weights_only") == "True"
            # The cells of the lessons, and the reader's own answers to their exercises.
            safe |= (name, called) in {("lessons.execute", "exec"), ("lessons.execute", "compile")}
            if called in NEVER_CALLED and not safe:
                found.add(called)
            if keywords.get("shell", "False") != "False":
                found.add("shell=True")
            if called in ("np.load", "numpy.load") and keywords.get("allow_pickle") != "False":
                found.add("np.load that does not refuse pickles")
    assert found == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_no_file_is_too_long_to_be_read_at_once(path):
    assert len(path.read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("name", NAMES)
def test_every_file_and_all_that_is_public_says_what_it_is(name):
    tree = tree_of(name)
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    assert [node.name for node in public if not ast.get_docstring(node)] == []
    assert ast.get_docstring(tree)
