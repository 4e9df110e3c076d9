"""A function of a config as a command: Hydra composes, and what the user did wrong is said without a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import hydra
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from adfm.config.compose import conf_folder, explain
from adfm.errors import AdfmError

USER_ERROR = 2
"""Exit status of a command that its user can mend."""


def command(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Make a function of a composed config the `main` of an entry point; `config_name` is its primary config in conf/."""

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @wraps(function)
        def job(config: DictConfig) -> Any:
            with user_errors():
                return function(config)

        def main() -> None:
            os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # let Hydra's errors reach `user_errors`
            with user_errors():
                hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)(job)()

        return main

    return decorate


@contextmanager
def user_errors() -> Iterator[None]:
    """Print an error that the user can mend and leave with status 2; let every other one through with its traceback."""
    try:
        yield
    except InstantiationException:
        raise
    except (HydraException, OmegaConfBaseException) as error:
        _leave(explain(error))
    except AdfmError as error:
        _leave(str(error))


def _leave(message: str) -> None:
    print(message, file=sys.stderr)
    sys.exit(USER_ERROR)
