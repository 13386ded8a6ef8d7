"""Pages of the documentation site that are made when it is built: the public names of each package."""

import ast
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("audio_tokenize", "audio_data", "audio_model", "audio_train", "audio_eval")


def reference(package: str) -> str:
    """Return the page of a package: every name that its root exports, by the module that defines it."""
    stub = ROOT / "packages" / package / "src" / package / "__init__.pyi"
    lines = [f"# {package}", ""]
    for node in ast.parse(stub.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            module = f"{package}.{node.module}" if node.module else package  # `from . import charts` names a module
            lines += [f"::: {module}.{alias.name}" for alias in node.names]
    return "\n\n".join(lines) + "\n"


def on_files(files: Files, config: Any) -> Files:
    """Add the reference of each package."""
    for package in PACKAGES:
        files.append(File.generated(config, f"reference/{package}.md", content=reference(package)))
    return files
