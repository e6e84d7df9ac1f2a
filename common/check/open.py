"""From a checker's name to a checker."""

from __future__ import annotations

from pathlib import Path

from common.check.support import Checker
from common.errors import UsageError
from common.nearest import did_you_mean

NAMES = ("rules", "built-in")


def open_checker(name: str, allow_remote: str = "") -> Checker:
    """`rules`, `built-in`, an encoder's folder or Hub id, or `URL` or `URL#MODEL` of an OpenAI-compatible server.

    `allow_remote` is the one host beyond this machine that documents may be sent to. Raises UsageError for what is
    none of them, and ModelError, EngineError, ConfigError or RemoteError for one that cannot be used.
    """
    if name == "rules":
        from common.check.rules import Rules

        return Rules()
    if name == "built-in":
        from common.check.built_in import BuiltIn

        return BuiltIn()
    if name.startswith(("http://", "https://")):
        from common.check.server import ServerChecker
        from common.remote.client import ChatClient

        url, _, model = name.partition("#")
        return ServerChecker(ChatClient(url, model, allow_remote=allow_remote))
    if "/" in name or Path(name).is_dir():
        from common.check.encoder import load_encoder_checker

        return load_encoder_checker(name)
    raise UsageError(
        f"--checker {name}: there is no such checker{did_you_mean(name, NAMES)}; give {', '.join(NAMES)}, an encoder's "
        "folder or Hub id (owner/name), or the address of a server (http://localhost:11434/v1#MODEL)"
    )
