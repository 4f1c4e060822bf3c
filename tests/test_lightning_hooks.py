"""What the command line leans on inside Lightning; each test fails loudly on an upgrade that changes it."""

import inspect

import pytest
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from craft_lightning import cli
from craft_lightning.errors import CraftError


def test_the_hooks_we_override_still_exist_and_are_still_called():
    """Fails on a Lightning upgrade that renames, drops or no longer calls what ``CraftCLI`` overrides."""
    parameters = {
        name: list(inspect.signature(getattr(LightningCLI, name)).parameters)
        for name in vars(cli.CraftCLI)
        if hasattr(LightningCLI, name) and callable(getattr(LightningCLI, name)) and not name.startswith("__")
    }
    assert parameters == {
        "add_arguments_to_parser": ["self", "parser"],
        "init_parser": ["self", "kwargs"],
        "parse_arguments": ["self", "parser", "args"],
        "_parse_ckpt_path": ["self"],
        "before_instantiate_classes": ["self"],
        "instantiate_classes": ["self"],
        "_instantiate_trainer": ["self", "config", "callbacks"],
    }
    constructor = inspect.getsource(LightningCLI.__init__)
    order = [
        constructor.index(f"self.{name}(")
        for name in ("setup_parser", "parse_arguments", "_parse_ckpt_path", "instantiate_classes", "_run_subcommand")
    ]
    assert order == sorted(order)
    assert "_instantiate_trainer(" in inspect.getsource(LightningCLI.instantiate_trainer)
    assert 'f"before_{subcommand}"' in inspect.getsource(LightningCLI._run_subcommand)
    assert 'f"after_{subcommand}"' in inspect.getsource(LightningCLI._run_subcommand)
    assert "getattr(self, subcommand, default)" in inspect.getsource(LightningCLI._run_subcommand)


def test_the_parser_still_reports_through_the_hook_we_override():
    parser = cli.CraftArgumentParser()
    assert list(inspect.signature(LightningArgumentParser.error).parameters) == ["self", "message", "ex"]
    with pytest.raises(CraftError, match="unexpected word 'word'"):
        parser.parse_args(["word"])


def test_lightning_still_lets_a_checkpoint_override_the_command_line():
    """The day this fails, Lightning has changed what ``_parse_ckpt_path`` guards against: look at it again."""
    assert "parse_object(hparams, self.config)" in inspect.getsource(LightningCLI._parse_ckpt_path)
