"""Names of files inside a model."""

from pathlib import PurePosixPath


def leads_out(name: str) -> bool:
    """Whether a file's name is absolute, climbs up, or would do so on another system."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name
