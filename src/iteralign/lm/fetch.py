"""Fetching a model from the hub into the hub's own cache, and one line for each way in which that fails."""

import errno
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from iteralign.errors import IterAlignError, UserError, WorldError

TIMEOUT_S = 20


def cached(name: str, revision: str | None) -> Path | None:
    """The files of a hub id that lie in the cache, without asking the hub; None if there are none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (HfHubHTTPError, OSError, ValueError):
        return None


@lru_cache
def fetched(name: str, revision: str | None, patterns: tuple[str, ...], field: str) -> Path:
    """A hub id's files, at the commit that its revision names now; from the cache where the hub does not answer.

    Raises UserError (no such id or revision, gated, pickles only), WorldError (no network).
    """
    from huggingface_hub import HfApi, snapshot_download

    require_id(name, field)
    try:
        info = HfApi().model_info(name, revision=revision, timeout=TIMEOUT_S)
        _refuse_pickles([f.rfilename for f in info.siblings or ()], name, field)
        return Path(snapshot_download(name, revision=info.sha, allow_patterns=list(patterns)))
    except IterAlignError:
        raise
    except Exception as error:  # the hub's HTTP client has an error tree of its own, and changes it
        explained = _explained(error, name, revision, field)
        if explained is None:
            raise
        folder = cached(name, revision)
        if folder is None:
            raise explained from error
        return folder


def require_id(name: str, field: str) -> None:
    """Raises UserError for a name that the hub could not have."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented as public

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError(f"{field}: {name!r} is neither a directory nor a hub id (owner/name)") from error


def pickles(field: str, name: str, file: str) -> UserError:
    """The refusal of weights that run code when they are loaded."""
    return UserError(
        f"{field}: {name!r} has its weights as pickles only ({file}), which can run code when loaded; take a revision "
        "with *.safetensors (policy.revision, on the hub often refs/pr/1), or, if you trust it, load it with "
        "transformers yourself and save_pretrained() it to a directory"
    )


def _refuse_pickles(files: Sequence[str], name: str, field: str) -> None:
    pickled = [f for f in files if f.endswith((".bin", ".pt", ".pth"))]
    if pickled and not any(f.endswith(".safetensors") for f in files):
        raise pickles(field, name, pickled[0])


def _explained(error: Exception, name: str, revision: str | None, field: str) -> IterAlignError | None:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return UserError(
            f"{field}: {name!r} is gated: accept its terms on the hub, then set HF_TOKEN to a token of that account"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return UserError(f"policy.revision: {name!r} has no branch, tag or commit {revision!r}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return UserError(
            f"{field}: no model {name!r} on the hub; check the spelling, name a directory, or, if it is private, "
            "set HF_TOKEN"
        )
    if isinstance(error, errors.OfflineModeIsEnabled):
        return UserError(
            f"{field}: no model {name!r} in the cache, and the hub may not be asked (HF_HUB_OFFLINE); fetch it "
            f"first with: hf download {name}"
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return WorldError(f"{field}: no space left while fetching {name!r}; make room and rerun to resume")
    return _unreachable(error, name, field)


def _unreachable(error: Exception, name: str, field: str) -> WorldError | None:
    from huggingface_hub.errors import HfHubHTTPError

    client = type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2")
    if not client and not isinstance(error, OSError):
        return None
    answered = isinstance(error, HfHubHTTPError)
    why = " ".join(str(error).split())[:120] if answered else type(error).__name__
    return WorldError(
        f"{field}: no model {name!r} in the cache, and the hub cannot be reached ({why}); rerun when it can, or name "
        "a directory"
    )
