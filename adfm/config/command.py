"""A function of a config as a command: Hydra composes, and what the user did wrong is said without a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from adfm.config.command_help import command_help
from adfm.config.compose import COMPOSITION_ERRORS, conf_folder, explain
from adfm.config.overrides import quoted
from adfm.errors import AdfmError

USER_ERROR = 2
"""Exit status of a command that its user can mend."""


def command(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Make a function of a composed config the `main` of an entry point, with this primary config of conf/."""

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], None]:
        composed = False

        @wraps(function)
        def job(config: DictConfig) -> Any:
            nonlocal composed
            composed = True
            with user_errors():
                return function(config)

        def main() -> None:
            os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # so that Hydra's errors arrive here
            OmegaConf.register_new_resolver("command_help", partial(command_help, config_name), replace=True)
            sys.argv[1:] = map(quoted, sys.argv[1:])
            try:
                hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)(job)()
            except COMPOSITION_ERRORS as error:
                if composed:
                    raise
                _leave(explain(error))

        return main

    return decorate


@contextmanager
def user_errors() -> Iterator[None]:
    """Print an error that the user can mend and leave with status 2; every other one keeps its traceback."""
    try:
        yield
    except AdfmError as error:
        _leave(str(error))


def _leave(message: str) -> None:
    print(message, file=sys.stderr)
    sys.exit(USER_ERROR)
