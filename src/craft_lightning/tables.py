"""Where tables are printed: terminals have a width, pipes and log files have none."""

from rich.console import Console


def table_console(columns: int = 160) -> Console:
    """Return a console on standard output, ``columns`` wide where that is neither a terminal nor a notebook.

    Rich assumes 80 columns there, and numbers would be folded or cut.
    """
    console = Console()
    return console if console.is_terminal or console.is_jupyter else Console(width=columns)
