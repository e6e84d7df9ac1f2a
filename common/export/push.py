"""Upload of a finished, checked export to the Hub, only ever when asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from common.errors import EngineError
from common.model.models import hub_offline


def push_folder(
    directory: Path, repository: str, kind: Literal["model", "space"], private: bool, endpoint: str | None = None
) -> str:
    """Create the repository if need be, upload the folder, and return its address.

    Raises EngineError, with the remedy, when there is no login, no network, or the Hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    if hub_offline():
        raise EngineError("--push needs the Hub, and HF_HUB_OFFLINE is set; unset it, or upload the folder by hand")
    api = HfApi(endpoint=endpoint)
    try:
        created = api.create_repo(
            repository,
            repo_type=kind,
            private=private,
            exist_ok=True,
            space_sdk="gradio" if kind == "space" else None,
        )
        api.upload_folder(
            folder_path=directory, repo_id=created.repo_id, repo_type=kind, commit_message="Upload from sumkit"
        )
    except LocalTokenNotFoundError:
        raise EngineError(f"--push {repository}: you are not logged in to the Hub; run `hf auth login` first") from None
    except HFValidationError as error:
        raise EngineError(f"--push {repository}: not a repository name ({error}); give owner/name") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        hint = "; run `hf auth login` with a token that may write" if status in (401, 403) else ""
        raise EngineError(f"--push {repository}: the Hub refused ({status}){hint}") from None
    except Exception as error:  # the client raises many kinds; whichever it is, the folder is there to be sent again
        raise EngineError(
            f"--push {repository}: the upload failed ({type(error).__name__}: {error}); the export itself is complete "
            f"in {directory}"
        ) from None
    return str(created)
