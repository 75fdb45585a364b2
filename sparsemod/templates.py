"""Jinja2 templates in the folder `templates` of a package.

In templates that end in .html values are escaped. A name that is not given is an error. A template is filled in one pass: text that is put
in is never searched for names again.
"""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, TemplateNotFound, select_autoescape


@cache
def environment(package: str) -> Environment:
    """The templates of a package."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(package: str, template: str, /, **values: Any) -> str:
    """The template called `template` of `package`, filled with `values`."""
    return environment(package).get_template(template).render(**values)


def render_optional(package: str, template: str, /, **values: Any) -> str:
    """As `render`, and "" where the package has no such template."""
    try:
        loaded = environment(package).get_template(template)
    except TemplateNotFound:
        return ""
    return loaded.render(**values)
