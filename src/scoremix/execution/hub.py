"""The one way out of this machine: a finished folder to the Hugging Face hub, where somebody asked for it by name."""

from pathlib import Path
from typing import Any, Literal


def client(repo: str) -> Any:
    """The hub's client; ValueError without the extra, or for what is no name of a repository. Sends nothing."""
    if len(parts := repo.split("/")) != 2 or not all(parts):
        raise ValueError(f"--push {repo!r}: must be OWNER/NAME, a repository of yours")
    try:
        import huggingface_hub
    except ImportError:
        raise ValueError("--push: needs huggingface_hub: pip install 'scoremix[hf]'") from None
    return huggingface_hub.HfApi()


def push(api: Any, folder: Path, repo: str, kind: Literal["dataset", "model"]) -> str:
    """Uploads a folder as a private repository, made if it is not there; returns its address on the hub.

    RuntimeError, one line, where that fails: the folder stays.
    """
    try:
        created = api.create_repo(repo, repo_type=kind, private=True, exist_ok=True)
        api.upload_folder(repo_id=repo, repo_type=kind, folder_path=str(folder))
    except Exception as error:  # the client raises of many kinds
        said = " ".join(str(error).split())[:200]
        raise RuntimeError(f"--push {repo}: the hub refused ({said}); {folder} is written and stays") from None
    return str(created)
