"""The shape of the source: who may import whom, what is never used, how long a file may be."""

import ast
from pathlib import Path

import pytest

import alexnet

FOLDER = Path(alexnet.__file__).parent

# Bottom to top; a module imports from the lines above its own, and within a line from names further left.
ORDER = """
errors worker collectives draws allocator jit compiled cutting prefetch signals kernels layers optim samples
statistics metrics page intervals charts
files lock sums config fusion cifar_net model spread split towers hybrid ilsvrc images plots
shards fetching named_sets augment summary duplicates exclusion
wire opcodes caffemodel onnx_graph pickles stored
dataset remote sources recipes small_variants variants explain identify
rows ingredients
plans evaluate views run checkpoint conv1 exact divergence weights
decoding mistakes suspects inspection trainer
team_step
findings check guard
prepare predict sections train
bench bench_layers replay
parallel team_run bill
report doctor_page terminal
tables workflow
doctor
tables_networks tables_bench tables_data demo
ensemble lab compare
features onnx_writer answering parity model_card quantize export sheets similar filters why
ablate
tables_lab tables_explore
lab_page
limits counters tarball replies problems access batching deadlines served serving routes service
tuning look patches pictures neighbours progress contrast
explorer_state explorer_routes
cli_runs cli_train cli_networks cli_data cli_lab cli_explore cli_serve cli_page
cli
__main__
"""

VERBS = {"cli_runs", "cli_train", "cli_networks", "cli_data", "cli_lab", "cli_explore", "cli_serve", "cli_page"}

# What only people see is used by nothing below it: module -> those that may import it.
SHOWS = {
    "page": {"report", "sections", "doctor_page", "lab_page"},
    "plots": {"report", "sections", "doctor_page", "lab_page"},
    "charts": {"lab_page"},
    "doctor_page": {"doctor"},
    "doctor": {"tables_data", "cli_data"},
    "mistakes": {"report", "sections"},
    "sections": {"report"},
    "report": {"workflow"},
    "terminal": {
        *("tables", "tables_networks", "tables_bench", "tables_data", "tables_lab", "tables_explore"),
        *("workflow", "doctor", "demo"),
        *VERBS,
    },
    "tables": {"tables_networks", "tables_bench", "tables_data", "tables_lab", "tables_explore"} | VERBS,
    "tables_networks": VERBS,
    "tables_bench": {"cli_networks"},
    "tables_data": {"cli_data"},
    "tables_lab": {"lab_page", "cli_lab"},
    "lab_page": {"cli_lab"},
    "model_card": {"export"},
    "quantize": {"export"},
    "export": {"tables_explore", "cli_explore"},
    "parity": {"export", "tables_explore", "cli_explore"},
    "sheets": {
        *("similar", "filters", "why", "cli_explore", "served", "routes"),
        *("look", "explorer_state", "neighbours", "pictures"),
    },
    "similar": {"tables_explore", "cli_explore", "served", "neighbours"},
    "filters": {"tables_explore", "cli_explore", "tuning", "explorer_routes"},
    "why": {"tables_explore", "cli_explore", "served", "explorer_routes"},
    "features": {
        *("similar", "tables_explore", "cli_explore", "served", "routes"),
        *("look", "neighbours", "patches", "explorer_routes"),
    },
    "tables_explore": {"cli_explore"},
    "service": {"cli_serve", "cli_page"},
    "routes": {"service"},
    "workflow": {"demo", "lab", "compare"} | VERBS,
    "demo": {"cli_runs"},
    "cli_runs": {"cli"},
    "cli_train": {"cli"},
    "cli_networks": {"cli"},
    "cli_data": {"cli"},
    "cli_lab": {"cli"},
    "cli_explore": {"cli"},
    "cli_serve": {"cli", "cli_page"},
    "cli_page": {"cli"},
    "explorer_routes": {"cli_page"},
    "cli": {"__main__"},
}

# Help, and the work on files, must not wait for PyTorch.
WITHOUT_TORCH = ("errors", "images", "sources", "prepare", "dataset", "remote", "cli")

LONG = {"images": 370}  # all that a picture can be, in one place
LONGEST = 350

NEVER_IMPORTED = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"}
NEVER_CALLED = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.load", "yaml.load"}

TREES = {path.stem: ast.parse(path.read_text()) for path in sorted(FOLDER.glob("*.py"))}


def imports(nodes) -> set[str]:
    """Dotted names of the modules that these nodes import; those of alexnet as alexnet.NAME."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            if node.module == "alexnet":
                found |= {f"alexnet.{alias.name}" for alias in node.names if alias.name in TREES}
            else:
                found.add(str(node.module))
    return found


def own(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("alexnet.")}


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


USED = {name: own(imports(ast.walk(tree))) for name, tree in TREES.items()}


def test_every_module_has_its_place_in_the_order():
    assert sorted(ORDER.split()) == sorted(set(TREES) - {"__init__"})


@pytest.mark.parametrize("name", TREES)
def test_imports_follow_one_order(name):
    if name == "__init__":
        assert not USED[name]  # importing the package does nothing
        return
    order = ORDER.split()
    assert name in order
    assert {used for used in USED[name] if order.index(used) >= order.index(name)} == set()


@pytest.mark.parametrize("shown", SHOWS)
def test_what_shows_things_to_people_is_used_only_where_it_may(shown):
    assert {name for name, used in USED.items() if shown in used} <= SHOWS[shown]


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_pytorch_is_not_needed_for_help_and_files(name):
    reached, waiting = set(), [name]
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += own(imports(at_import(TREES[module])))
    heavy = {
        f"{module} imports {found}"
        for module in reached
        for found in imports(at_import(TREES[module]))
        if found.split(".")[0] in ("torch", "torchvision", "safetensors", "matplotlib", "rich", "sklearn")
    }
    assert heavy == set()


@pytest.mark.parametrize("name", TREES)
def test_nothing_that_could_run_foreign_code_is_used(name):
    found = {module for module in imports(ast.walk(TREES[name])) if module.split(".")[0] in NEVER_IMPORTED}
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            safe = (name, called) == ("pickles", "torch.load") and keywords.get("weights_only") == "True"
            if called in NEVER_CALLED and not safe:
                found.add(called)
            if keywords.get("shell", "False") != "False":
                found.add("shell=True")
            if called in ("np.load", "numpy.load") and keywords.get("allow_pickle") != "False":
                found.add("np.load that does not refuse pickles")
    assert found == set()


@pytest.mark.parametrize("name", TREES)
def test_no_file_is_too_long_to_be_read_at_once(name):
    lines = len((FOLDER / f"{name}.py").read_text().splitlines())
    assert lines <= LONG.get(name, LONGEST)


def test_the_list_of_long_files_is_no_longer_than_needed():
    assert [n for n in LONG if len((FOLDER / f"{n}.py").read_text().splitlines()) <= LONGEST] == []


@pytest.mark.parametrize("name", TREES)
def test_every_file_and_all_that_is_public_says_what_it_is(name):
    tree = TREES[name]
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    assert [node.name for node in public if not ast.get_docstring(node)] == []
    assert ast.get_docstring(tree)
