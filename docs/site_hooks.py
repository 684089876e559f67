"""What `make docs-site` makes of the checkout: hooks of MkDocs, named in mkdocs.yml.

The pages of the root (README, CONTRIBUTING, ...) become pages of the site, files of the checkout that pages link to are
copied beside them, and links are rewritten to match. The navigation is docs/README.md: its headings are the sections,
its tables the pages. The API reference has the public names of fm_core, from their docstrings.
"""

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
CONTENTS = "docs/README.md"
API = "reference/api.md"

#: File of the checkout: page of the site.
ROOT_PAGES = {
    "README.md": "index.md",
    CONTENTS: "contents.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "SUPPORT.md": "project/support.md",
    "benchmarks/README.md": "project/benchmarks.md",
    "local_test/a9a/README.md": "project/demo_data.md",
    **{
        f"benchmarks/results/{page.name}": f"project/results/{page.name}"
        for page in ROOT.glob("benchmarks/results/*.md")
    },
}
_FROM = {page: file for file, page in ROOT_PAGES.items()}
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
_FENCE = re.compile(r"(^```.*?^```\n?)", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the navigation."""
    nav: list[Any] = [{"Home": "index.md"}]
    for title, text in re.findall(r"^## ([^:\n]+)[^\n]*\n(.*?)(?=^## |\Z)", (ROOT / CONTENTS).read_text(), re.M | re.S):
        pages = re.findall(r"^\| \[[^\]]+\]\(([\w./-]+\.md)\)", text, re.MULTILINE)
        nav.append({title: [*pages, *([{"API of fm_core": API}] if title == "Reference" else [])]})
    results = sorted(page for page in _FROM if page.startswith("project/results/"))
    others = ["contents.md", *(page for page in _FROM if page.startswith("project/") and page not in results)]
    nav.append({"Project": [*others, *([{"Benchmark results": results}] if results else [])]})
    config.nav = nav
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, the API reference, and the files that pages link to."""
    for file in list(files):
        if file.src_uri == "README.md":
            files.remove(file)
    for source, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    files.append(File.generated(config, API, content=api()))
    linked = set()
    for file in files.documentation_pages():
        for target in _LINK.findall(file.content_string):
            place = _place(file.src_uri, target[1])
            if place is not None and _page_of(place) is None and (ROOT / place).is_file():
                linked.add(place)
    for place in sorted(linked):
        files.append(File.generated(config, f"source/{place}", abs_src_path=str(ROOT / place)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite links to what the site has; a folder of the checkout becomes plain text."""
    if page.is_homepage:
        page.meta["hide"] = ["navigation"]  # a list of one entry, in a column of its own

    def rewrite(found: re.Match[str]) -> str:
        place = _place(page.file.src_uri, found[2])
        if place is None:
            return found[0]
        uri = _page_of(place) or f"source/{place}"
        return found[1] + posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".") + found[3]

    def without_folders(text: str) -> str:
        return re.sub(
            r"\[([^\]]+)\]\(([^)#\s]+)\)",
            lambda found: found[1] if _is_folder(page.file.src_uri, found[2]) else found[0],
            text,
        )

    parts = _FENCE.split(markdown)  # every second one is a block of code
    return "".join(part if i % 2 else _LINK.sub(rewrite, without_folders(part)) for i, part in enumerate(parts))


def api() -> str:
    """Write the page of the public names, as fm_core/__init__.py imports them for those who check types."""
    tree = ast.parse((ROOT / "fm_core/__init__.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module != "typing"]
    modules = {node.module: [alias.name for alias in node.names] for node in imports if node.module != "fm_core"}
    parts = ["# API of fm_core\n\nWhat `import fm_core` gives. Every name is imported when it is first used.\n"]
    for module, names in modules.items():
        parts += [f"## {module}\n", *(f"::: {module}.{name}\n" for name in names)]
    return "\n".join(parts)


def _place(page: str, target: str) -> str | None:
    """Give the path in the checkout that a page's link leads to; None: it leads elsewhere."""
    if "://" in target or target.startswith(("mailto:", "#", "/")):
        return None
    source = _FROM.get(page, f"docs/{page}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def _page_of(place: str) -> str | None:
    if place in ROOT_PAGES:
        return ROOT_PAGES[place]
    return place.removeprefix("docs/") if place.startswith("docs/") and not place.endswith((".py", ".txt")) else None


def _is_folder(page: str, target: str) -> bool:
    place = _place(page, target)
    return place is not None and (ROOT / place).is_dir()
