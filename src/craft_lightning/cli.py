"""``fit``, ``validate``, ``test`` and ``predict``: Lightning's own command line with recipes, named losses and one-line
errors.
"""

import copy
import difflib
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch.distributed as dist
from jsonargparse import ActionConfigFile, Namespace
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import craft_lightning.objectives
import craft_lightning.pretraining  # gives its callbacks short names
from craft_lightning.arms import Arms, compare
from craft_lightning.errors import CraftError
from craft_lightning.metrics.documents import read_document
from craft_lightning.metrics.motion import read_motions
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.metrics.results import write_results
from craft_lightning.metrics.scoreboard import print_scoreboard
from craft_lightning.metrics.summary import summarise
from craft_lightning.mistakes import explain
from craft_lightning.module import CraftModule
from craft_lightning.noise import quiet
from craft_lightning.objectives.base import LossCallback
from craft_lightning.plugins import load_adapters, load_modules
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.policies.checkpoint import require_one_source
from craft_lightning.recipe_files import find_recipe
from craft_lightning.reports.comparison import Comparison
from craft_lightning.resume import LAST, CommandLineWins, ResumeHint, describe_resume, last_checkpoint, read_checkpoint
from craft_lightning.rollouts import datamodule, demonstrations  # noqa: F401  (gives the DataModules short names)
from craft_lightning.rollouts.keeping import MOTIONS
from craft_lightning.rollouts.worlds import WorldsDataModule

COMMANDS = ("fit", "validate", "test", "predict")
_BASES = (PolicyAdapter, LightningDataModule, Callback, Logger)


class RecipeAction(ActionConfigFile):
    """``--config``: a file, or a recipe by its name; losses of several recipes add up instead of replacing each other.

    A later recipe changes one number of a loss, adds a loss, or removes one with ``name: null``.
    """

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Read one recipe on top of what was read before it."""
        inline = isinstance(values, str) and (values.lstrip().startswith("{") or "\n" in values)
        before = dict(cfg.get("losses") or {})
        super().__call__(parser, cfg, values if inline else str(find_recipe(str(values))), option_string)
        if before:
            cfg["losses"] = _compose(before, dict(cfg.get("losses") or {}))


def _compose(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return the losses of an earlier recipe with those of a later one on top."""
    losses = {**before, **after}
    for name, new in after.items():
        old = before.get(name)
        if old and new and old.get("class_path") == new.get("class_path", old.get("class_path")):
            losses[name] = Namespace(
                class_path=old.get("class_path"),
                init_args=Namespace(
                    {**vars(old.get("init_args", Namespace())), **vars(new.get("init_args", Namespace()))}
                ),
            )
    return losses


class CraftArgumentParser(LightningArgumentParser):
    """Answers a mistake with one sentence instead of a page of usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the sentence; ``__main__`` prints it and exits with status 2.

        Raises:
            CraftError: always.

        """
        if (cause := _cause(ex)) is not None:
            raise cause
        words = list(_arguments)
        command = words.pop(0) if words and words[0] in COMMANDS else ""
        parser = self
        if self._subcommands_action is not None and command:
            parser = self._subcommands_action.choices[command]
        options = [name[2:] for name in parser._option_string_actions if name.startswith("--")]
        raise CraftError(explain(message, words, options, _classes(), {"comparison": Comparison})) from ex


def _cause(error: BaseException | None) -> CraftError | None:
    """Return the CraftError that other errors are wrapped around."""
    while error is not None and not isinstance(error, CraftError):
        error = error.__cause__ or error.__context__
    return error


@rank_zero_only
def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


# The command line being parsed, for messages; set by ``main``. The parser has no other way to learn it.
_arguments: Sequence[str] = ()


def _classes() -> Iterator[type]:
    """Return every class that may be named by its short name."""
    waiting: list[type] = list(_BASES)
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        yield cls


class CraftCLI(LightningCLI):
    """Builds module, data, losses and trainer from recipes and options, and runs one of Lightning's four commands."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the named losses and the comparison."""
        parser.add_argument(
            "--losses",
            type=dict[str, LossCallback | None],
            default={},
            help="Loss terms by name; --losses.NAME.weight=0.3 changes a number, --losses.NAME=null removes a term.",
        )
        parser.add_argument(
            "--comparison",
            type=Comparison | None,
            default=None,
            help="After a fit, drive the evaluation routes with each of these arms and compare them.",
        )

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Return a parser whose ``--config`` takes recipe names."""
        parser = self.parser_class(**kwargs)
        parser.add_argument(
            "-c", "--config", action=RecipeAction, help="A recipe's name or a YAML file; may be repeated."
        )
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and refuse two sources of weights, and a loss that no recipe names: the parser would make one up."""
        self.config = parser.parse_object(args) if isinstance(args, dict | Namespace) else parser.parse_args(args)
        config = self.config[self.config.subcommand] if self.config.get("subcommand") else self.config
        adapter = config.model.get("adapter") or Namespace()
        require_one_source(config.model.get("checkpoint"), (adapter.get("init_args") or {}).get("pretrained"))
        losses = config.losses
        if isinstance(config.get("seed_everything"), int) and not 0 <= config.seed_everything < 2**32:
            raise CraftError(f"seed_everything is {config.seed_everything}; give a whole number from 0 to 4294967295")
        base = f"{LossCallback.__module__}.{LossCallback.__qualname__}"
        real = [name for name, loss in losses.items() if loss is not None and loss.class_path != base]
        for name in losses:
            if losses[name] is not None and name not in real:
                near = difflib.get_close_matches(name, real, n=1)
                hint = f"did you mean 'losses.{near[0]}'?" if near else f"losses are: {', '.join(real) or 'none'}"
                raise CraftError(f"no loss 'losses.{name}'; {hint} A new one needs its class: --losses.{name}=CLASS")

    def _parse_ckpt_path(self) -> None:
        """Check the checkpoint and say what is taken from it; recipes and options keep all settings.

        Lightning's own method lets the checkpoint's hyper-parameters win over the command line without a word.
        """
        self.checkpoint_settings: dict[str, Any] = {}
        if not self.config.get("subcommand"):
            return
        config = self.config[self.config.subcommand]
        # Never unpickle: a checkpoint is tensors and plain numbers.
        config["weights_only"] = True
        if config.get("ckpt_path") == LAST:
            config["ckpt_path"] = str(last_checkpoint(config.trainer.default_root_dir))
        if config.get("ckpt_path"):
            checkpoint = read_checkpoint(config.ckpt_path)
            if checkpoint is not None:
                self.checkpoint_settings = checkpoint.get("hyper_parameters", {})
                settings = config.model.as_dict()
                _say(describe_resume(config.ckpt_path, self.config.subcommand, checkpoint, settings))

    def before_instantiate_classes(self) -> None:
        """Let ``validate`` drive its routes although a recipe switches validation off during a fit."""
        if self.subcommand == "validate" and self.config.validate.trainer.limit_val_batches == 0:
            _say("trainer.limit_val_batches=0 is for fits; driving all evaluation routes")
            self.config.validate.trainer.limit_val_batches = None

    def instantiate_classes(self) -> None:
        """Build module, data, losses and trainer; a constructor's own sentence is not buried in the parser's.

        Raises:
            CraftError: what a constructor refuses.

        """
        try:
            super().instantiate_classes()
        except Exception as error:
            if (cause := _cause(error)) is not None:
                raise cause from None
            raise

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        """Hand the named losses to the trainer as callbacks, in the order of the recipe."""
        losses = self._get(self.config_init, "losses", default={})
        for name, loss in losses.items():
            if loss is not None:
                loss.name = name
                callbacks.append(loss)
        callbacks += [CommandLineWins(self.checkpoint_settings), ResumeHint()]
        try:
            return super()._instantiate_trainer(config, callbacks)
        except (TypeError, ValueError, MisconfigurationException) as error:
            raise CraftError(f"trainer: {error}") from error

    @property
    def folder(self) -> Path:
        """Where this run's files go."""
        return Path(self.trainer.log_dir or self.trainer.default_root_dir)

    def before_fit(self) -> None:
        """Keep the policy as it is before the fit, where a comparison will want it."""
        self.comparison: Comparison | None = self._get(self.config_init, "comparison")
        if self.comparison is not None:
            if not isinstance(self.datamodule, WorldsDataModule) or not isinstance(self.model, CraftModule):
                raise CraftError("comparison needs driving data; set data to a DataModule with worlds, or remove it")
            self.pretrained = copy.deepcopy(self.model.adapter)

    def after_fit(self) -> None:
        """Compare the arms on the evaluation routes."""
        if self.comparison is None or self.trainer.interrupted:
            return
        # Ranks agree on the folder together; after that the first one drives alone, and nobody must wait for it.
        folder = Path(self.comparison.output) if self.comparison.output else self.folder
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()
        if not self.trainer.is_global_zero:
            return
        compare(self.comparison, Arms(self.model, self.pretrained, self.datamodule, self.trainer), folder)
        print(f"comparison written to {folder / 'comparison.json'} and comparison.png")

    def before_validate(self) -> None:
        """Refuse to drive in several processes."""
        self._require_one_process("validate")

    def before_test(self) -> None:
        """Refuse to drive in several processes."""
        self._require_one_process("test")

    def _require_one_process(self, command: str) -> None:
        if self.trainer.world_size > 1:
            raise CraftError(
                f"trainer.devices: {command} drives every route once, in one process; set trainer.devices=1, and "
                "data.worlds for more worlds side by side"
            )

    def after_test(self) -> None:
        """Print the scores of the result file, where the test wrote one."""
        path = getattr(self.datamodule, "result_file", None)
        if path is None or not self.trainer.is_global_zero:
            return
        document = read_document(path)
        motions = None
        if (path.parent / MOTIONS).is_dir():
            motions = read_motions(path.parent / MOTIONS, [record.save_name for record in document.records])
        print_scoreboard([summarise(document, routes=self.datamodule.eval_suite, motions=motions)])
        again = ["craft-lightning", "score", str(path)]
        if motions is not None:
            again += ["--metric-info", str(path.parent / MOTIONS)]
        print(f"{len(document.records)} routes in {path}; again: {shlex.join(again)}")

    def predict(self, **arguments: Any) -> None:
        """Drive the evaluation routes and write their records."""
        self._require_one_process("predict")
        batches = self.trainer.predict(**arguments) or []
        records = [RouteRecord.from_dict(record) for batch in batches for record in batch]
        path = self.folder / "results.json"
        write_results(path, self.datamodule.protocol, records)
        print(f"{len(records)} route records written to {path}")


def build(arguments: Sequence[str]) -> CraftCLI:
    """Build module, data, losses and trainer from a command line without a command, and run nothing.

    Args:
        arguments: options such as ``--config``.

    Returns:
        Their owner, with ``model``, ``datamodule`` and ``trainer``.

    Raises:
        CraftError: whatever the user can mend.

    """
    return _start(arguments, parser_kwargs={"allow_abbrev": False}, run=False, save_config_callback=None)


def main(arguments: Sequence[str]) -> None:
    """Run one command.

    Args:
        arguments: the command line, beginning with one of ``COMMANDS``.

    Raises:
        CraftError: whatever the user can mend.

    """
    strict = {"allow_abbrev": False}
    _start(
        arguments,
        parser_kwargs={**strict, **{command: dict(strict) for command in COMMANDS}},
        save_config_kwargs={"overwrite": True},
    )


def _start(arguments: Sequence[str], **options: Any) -> CraftCLI:
    """Construct the command line's object, which builds everything and runs a command where there is one."""
    global _arguments
    _arguments = tuple(arguments)
    quiet()
    load_adapters()
    load_modules(craft_lightning.objectives)
    try:
        return CraftCLI(
            CraftModule,
            LightningDataModule,
            subclass_mode_data=True,
            parser_class=CraftArgumentParser,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            args=list(arguments),
            **options,
        )
    finally:
        _arguments = ()
