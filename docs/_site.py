"""What the site needs beyond Sphinx's own settings.

::

    reachable      other projects whose names may become links
    types          which names of types are links
    models_are_there, be_strict    how the examples run
    Members        the methods and properties of a class, for its page
    take_in        pages that lie outside docs/, and links that leave it
    link_names     names of classes in the prose, as links to their pages
    write_llms_txt the pages as a list for language models
"""

import inspect
import os.path
import pydoc
import re
import urllib.error
import urllib.request
import warnings
from dataclasses import dataclass
from pathlib import Path

from docutils import nodes
from numpydoc.xref import DEFAULT_LINKS
from sphinx.addnodes import pending_xref

import sklfusion
from sklfusion import plotting
from sklfusion.models import installed

#: Pages of the site whose text lies elsewhere in the repository.
TAKEN_IN = {
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "programs": "benchmarks/README.md",
}

_OUTSIDE = warnings.filters[:]  # what happens to warnings outside the examples
_PATIENCE = 4  # seconds to wait for another project's list of names, before doing without
_LINK = re.compile(r"\[((?:[^\]\[]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_SUMMARY = 200  # characters of a page's first paragraph in llms.txt


def reachable(projects):
    """Return Sphinx's form of the projects whose inventory can be fetched; all or none.

    A build without a network has no links to other projects, and is otherwise the same.
    """
    try:
        for url in projects.values():
            urllib.request.urlopen(url + "objects.inv", timeout=_PATIENCE).close()
    except (urllib.error.URLError, OSError):
        return {}
    return {name: (url, None) for name, url in projects.items()}


def types(reach_others):
    """Names of types to what they link to; those of other projects are words out of reach."""
    ours = {name: f"sklfusion.{name}" for name in sklfusion.__all__}
    return ours if reach_others else ours | {name: name for name in DEFAULT_LINKS}


def models_are_there():
    """Tell whether the embedded models are installed; the examples run on them."""
    return all(model["path"] for model in installed())


def be_strict(conf, name, when):
    """Make warnings errors while an example runs, and only then."""
    warnings.resetwarnings()
    if when == "before":
        warnings.simplefilter("error")
    else:
        warnings.filters[:] = _OUTSIDE


@dataclass(frozen=True)
class Members:
    """Which public members a class has, by name of the class.

    A class, since Sphinx compares settings with those of the last build, and no two functions are
    equal.
    """

    package: str

    def __call__(self, fullname, kind):
        """Names of the "methods" or "properties" of this package, or of "inherited" methods."""
        cls = pydoc.locate(fullname)
        found = {"methods": [], "properties": [], "inherited": []}
        for name in sorted(name for name in dir(cls) if not name.startswith("_")):
            owner = next((base for base in cls.__mro__ if name in vars(base)), cls)
            value = inspect.getattr_static(cls, name)
            if isinstance(value, property):
                if value.__doc__:  # those without are parameters of a part, shown there
                    found["properties"].append(name)
            elif callable(getattr(cls, name, None)) and not inspect.isclass(value):
                ours = owner.__module__.startswith(self.package)
                ours = ours and not name.endswith("_request")  # written by scikit-learn
                found["methods" if ours else "inherited"].append(name)
        return found[kind]


def take_in(app, name, source):
    """Read the pages that lie elsewhere, and mend the links that leave ``docs/``.

    What is a page of the site becomes a link to it; what is not, the words without a link.
    """
    if Path(app.env.doc2path(name)).suffix != ".md":
        return
    root = Path(app.srcdir).parent
    home = root / TAKEN_IN.get(name, f"docs/{name}.md")
    pages = {root / file: page for page, file in TAKEN_IN.items()}

    def mend(link):
        path, _, heading = link[2].partition("#")
        target = Path(os.path.normpath(home.parent / path))
        anchor = f"#{heading}" if heading else ""
        if "://" in path or not path:
            return link[0]
        if target in pages:
            return f"[{link[1]}]({pages[target]}.md{anchor})"
        if target.is_relative_to(root / "docs"):
            return f"[{link[1]}]({target.relative_to(root / 'docs').as_posix()}{anchor})"
        return link[1]

    source[0] = _LINK.sub(mend, home.read_text(encoding="utf-8"))


def link_names(app, doctree):
    """Make links of the public names that stand as code in the prose, but not in headings."""
    public = {name: f"sklfusion.{name}" for name in sklfusion.__all__}
    public |= {name: f"sklfusion.plotting.{name}" for name in plotting.__all__}
    page = app.env.docname
    for literal in list(doctree.findall(nodes.literal)):
        name, inside = literal.astext(), literal.parent
        if name in public and not isinstance(inside, nodes.title | nodes.reference | pending_xref):
            link = pending_xref("", refdomain="py", reftype="obj", reftarget=public[name])
            link["refdoc"], link["refexplicit"], link["refwarn"] = page, True, True
            literal.replace_self(link)
            link += literal


def _first_paragraph(doctree):
    paragraph = next(iter(doctree.findall(nodes.paragraph)), None)
    text = "" if paragraph is None else " ".join(paragraph.astext().split())
    return text if len(text) <= _SUMMARY else text[:_SUMMARY].rpartition(" ")[0] + " …"


def _in_order(env, name, seen):
    """Yield the pages in the order of the tables of contents."""
    if name in seen:
        return
    seen.add(name)
    yield name
    for child in env.toctree_includes.get(name, []):
        yield from _in_order(env, child, seen)


def write_llms_txt(app, failed):
    """Write llms.txt: every page with its first words, linked to its plain source."""
    if failed or app.builder.format != "html":
        return
    env = app.builder.env
    lines = [f"# {app.config.project} {app.config.release}", ""]
    for name in _in_order(env, app.config.root_doc, set()):
        title, source = env.titles[name].astext(), env.doc2path(name, base=False)
        summary = _first_paragraph(env.get_doctree(name))
        if name == app.config.root_doc:
            lines += [f"> {summary}", "", "## Pages", ""]
        else:
            lines.append(f"- [{title}](_sources/{source}.txt): {summary}")
    (app.outdir / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def setup(app):
    """Tell Sphinx when to call what."""
    app.connect("source-read", take_in)
    app.connect("doctree-read", link_names)
    app.connect("build-finished", write_llms_txt)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
