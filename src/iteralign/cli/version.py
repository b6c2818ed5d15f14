"""`iteralign version`."""


def command() -> None:
    """Print the versions that decide results."""
    import platform
    from importlib import metadata

    from iteralign import __version__
    from iteralign.cli import terminal

    lines = [f"iteralign {__version__}", f"python {platform.python_version()}"]
    for name in ("torch", "transformers", "trl", "peft", "inspect-ai"):
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name} not installed")
    terminal.write("\n".join(lines))
