"""Pages outside mkdocs' sight have whole links, and what pages import exists. (mkdocs itself, strictly, is
part of scripts/check.)"""

import ast
import importlib
import re

import pytest

from tests.conftest import PROJECT

LINK = re.compile(r"\[[^\]]*\]\(([^)\s#]+)[^)]*\)")
PAGES = sorted(
    path.relative_to(PROJECT).as_posix()
    for path in [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")]
)


@pytest.mark.parametrize(
    "page", ["README.md", "BUILD_NOTES.md", "CONTRIBUTING.md", "CHANGELOG.md", "serving/config/README.md"]
)
def test_links_lead_to_files(page):
    file = PROJECT / page
    links = [
        link for link in LINK.findall(file.read_text("utf-8")) if not link.startswith(("http://", "https://"))
    ]
    assert [link for link in links if not (file.parent / link).exists()] == []


def test_the_readme_fits_two_screens():
    assert len((PROJECT / "README.md").read_text("utf-8").splitlines()) <= 120


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python" in (PROJECT / page).read_text("utf-8")]
)
def test_python_of_the_pages_imports_what_exists(page):
    for block in re.findall(r"```python\n(.*?)```", (PROJECT / page).read_text("utf-8"), re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                # In a clone the client's package is called serving (serving/pyproject.toml).
                module = importlib.import_module(re.sub(r"^panet_client\b", "serving", node.module))
                for alias in node.names:
                    # A module of a package is no attribute before it is imported.
                    assert hasattr(module, alias.name) or importlib.import_module(
                        f"{module.__name__}.{alias.name}"
                    )
