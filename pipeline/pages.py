"""Pages of HTML from templates: every text in them is escaped. The only importer of jinja2, which it loads when it is first needed."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.contracts.errors import ConfigError

if TYPE_CHECKING:
    import jinja2


def page_template(file: Path) -> "jinja2.Template":
    """May include what lies beside it, and page.css.j2, the style of our pages. Raises ConfigError where jinja2 is not installed."""
    try:
        import jinja2
    except ImportError as err:
        raise ConfigError("jinja2 is not installed; install the extra `report`") from err
    folders = jinja2.FileSystemLoader([file.parent, Path(__file__).parent])
    environment = jinja2.Environment(loader=folders, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.get_template(file.name)
