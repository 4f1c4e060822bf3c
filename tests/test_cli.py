"""The command line as a user meets it: one process, real parser, real Trainer, no worlds."""

import json
import subprocess
import sys
import warnings
from importlib.metadata import EntryPoint
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningCLI

from craft_lightning import __main__ as door
from craft_lightning import cli, commands, plugins
from craft_lightning.errors import CraftError
from craft_lightning.metrics.results import Protocol, read_results
from craft_lightning.module import CraftModule
from craft_lightning.recipe_files import find_recipe, recipe_names
from craft_lightning.rollouts.worlds import WorldsDataModule
from craft_lightning.testing.tiny import TinyVocabularyPolicy
from craft_lightning.testing.transitions import SyntheticDataModule

RECIPE = {
    "trainer": {
        "max_epochs": 1,
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_val_batches": 0,
        "log_every_n_steps": 1,
    },
    "model": {"adapter": {"class_path": TinyVocabularyPolicy.__name__}, "learning_rate": 0.01},
    "data": {"class_path": "PaperWorlds"},
    "losses": {
        "residual": {"class_path": "GroundedResidual", "init_args": {"weight": 0.5, "clip": 0.1}},
        "anchor": {"class_path": "SelfDistillation"},
    },
}


class PaperWorlds(WorldsDataModule):
    """Worlds on paper: made-up transitions, and route records that depend on the policy's weights.

    Args:
        routes: number of evaluation routes.
        town: name of the town.

    """

    def __init__(self, routes: int = 5, town: str = "paper") -> None:
        super().__init__(town=town)
        self.routes, self.synthetic = routes, SyntheticDataModule(transitions=32, passes=1)

    def setup(self, stage: str | None = None) -> None:
        self.synthetic.trainer = self.trainer

    def train_dataloader(self) -> Any:
        return self.synthetic.train_dataloader()

    @property
    def protocol(self) -> Protocol:
        return Protocol(town=self.town, suite="paper_eval", num_routes=self.routes)

    def drive(self, policy: Any, title: str, seed: int | None = None) -> list[dict[str, Any]]:
        mark = 100.0 if policy is None else 50.0 + 40.0 * torch.tanh(policy.head.weight.sum()).item()
        return [
            {"route_id": f"r{i}", "index": i, "status": "Completed", "route_completion": mark}
            for i in range(self.routes)
        ]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Call the door with a recipe file in an empty working directory; returns (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(RECIPE))

    def call(*words: str) -> tuple[int, str, str]:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            try:
                status = door.main(list(words))
            except SystemExit as end:  # --print_config and --help end the process
                status = int(end.code or 0)
        return status, *capsys.readouterr()

    return call


def refused(run, *words: str) -> str:
    status, _, error = run(*words)
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert status == 2, error
    assert len(lines) == 1
    assert error.strip() == lines[0]
    return lines[0].removeprefix("error: ")


def printed(run, *words: str) -> dict[str, Any]:
    status, output, error = run(*words, "--print_config")
    assert status == 0, error
    return yaml.safe_load(output)


# --- words ------------------------------------------------------------------------------------------------------------


def test_the_static_table_is_in_step_with_the_commands():
    assert tuple(door.TRAINING) == cli.COMMANDS == tuple(LightningCLI.subcommands())
    with pytest.raises(CraftError, match=", ".join(f"'{word}'" for word in door.TOOLS)):
        commands.main(["nothing"])


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["fitt"], ["fit", "--config", "craft_vocabulry"]])
def test_help_version_and_misspelt_words_import_nothing_heavy(words):
    code = (
        "import sys; from craft_lightning.__main__ import main; main(sys.argv[1:]); "
        "heavy = {'torch', 'lightning', 'numpy', 'jsonargparse', 'carla'} & set(sys.modules); sys.exit(bool(heavy))"
    )
    assert subprocess.run([sys.executable, "-c", code, *words], capture_output=True, timeout=60).returncode == 0


@pytest.mark.slow
def test_a_command_starts_without_transformers():
    # torchmetrics would load all of it for its text metrics.
    code = (
        "import sys; from craft_lightning.__main__ import _import_torchmetrics; _import_torchmetrics(); "
        "sys.exit('torchmetrics' not in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120).returncode == 0


def test_help_names_every_command_and_recipe(run):
    status, output, _ = run("--help")
    assert status == 0
    assert all(word in output for word in [*door.TRAINING, *door.TOOLS, *recipe_names()])


def test_an_unknown_word_is_refused_with_usage(run):
    status, _, error = run("fitt")
    assert status == 1
    assert error.startswith("error: there is no command 'fitt'; did you mean 'fit'?")
    assert "usage:" in error


def other_main() -> int:
    print("other", sys.argv[1:])
    return 7


def test_other_words_of_lightning_go_to_whoever_else_owns_the_name(run, monkeypatch):
    entry = EntryPoint("lightning", f"{__name__}:other_main", "console_scripts")
    monkeypatch.setattr(door, "other_owners", lambda: [entry])
    monkeypatch.setattr(EntryPoint, "load", lambda self: other_main)
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/lightning", "studio", "--x"])
    assert run("studio", "--x")[:2] == (7, "other ['studio', '--x']\n")
    # The name that nobody else owns hands nothing on.
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/craft-lightning", "studio"])
    assert run("studio")[0] == 1


def test_our_own_distribution_is_no_other_owner(tmp_path, monkeypatch):
    info = tmp_path / "stranger_sdk-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger-sdk\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[console_scripts]\nlightning = stranger.cli:main\n")
    before = [entry.value for entry in door.other_owners()]
    assert not any("craft_lightning" in value for value in before)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "stranger.cli:main" in [entry.value for entry in door.other_owners()]


def test_a_craft_error_is_one_line_unless_a_traceback_is_wanted(run, monkeypatch):
    monkeypatch.setattr(cli, "main", lambda words: (_ for _ in ()).throw(CraftError("two\nlines")))
    assert refused(run, "fit") == "two lines"
    monkeypatch.setenv("CRAFT_LIGHTNING_TRACEBACK", "1")
    with pytest.raises(CraftError, match="two"):
        run("fit")


def test_a_torch_pair_that_does_not_fit_is_one_clear_sentence(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "craft_lightning.cli", None)
    monkeypatch.delattr("craft_lightning.cli", raising=False)

    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "craft_lightning.cli":
                raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.delitem(sys.modules, "craft_lightning.cli")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    sentence = refused(run, "fit")
    assert "torchvision::nms" in sentence
    assert "pip install" in sentence


# --- recipes ----------------------------------------------------------------------------------------------------------


def test_a_recipe_is_found_by_path_and_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = find_recipe("craft_vocabulary")
    assert shipped.is_file()
    assert find_recipe("craft_vocabulary.yaml") == shipped
    (tmp_path / "craft_vocabulary.yaml").write_text("{}")
    assert find_recipe("craft_vocabulary.yaml").read_text() == "{}"


def test_an_unknown_recipe_names_the_closest(run):
    assert "did you mean craft_vocabulary" in refused(run, "fit", "--config", "craft_vocabulry")
    assert ", ".join(recipe_names()) in refused(run, "fit", "--config", "xyz")


def test_recipes_compose_and_the_command_line_comes_last(run, tmp_path):
    second = {"losses": {"residual": {"init_args": {"weight": 0.25}}, "new": {"class_path": "Entropy"}, "anchor": None}}
    (tmp_path / "second.yaml").write_text(yaml.safe_dump(second))
    config = printed(run, "fit", "--config=mine.yaml", "--config=second.yaml", "--losses.new.weight=0.125")
    losses = config["losses"]
    assert losses["anchor"] is None
    assert losses["residual"]["init_args"]["weight"] == 0.25
    assert losses["residual"]["init_args"]["clip"] == 0.1  # kept from the first recipe
    assert losses["new"]["init_args"]["weight"] == 0.125
    assert config["trainer"]["max_epochs"] == 1


def test_a_loss_is_changed_replaced_and_removed_from_the_command_line(run):
    losses = printed(run, "fit", "-c", "mine.yaml", "--losses.residual.weight=0.3", "--losses.anchor=null")["losses"]
    assert losses["residual"]["init_args"] | {"weight": 0.3, "clip": 0.1} == losses["residual"]["init_args"]
    assert losses["anchor"] is None
    added = printed(run, "fit", "-c", "mine.yaml", "--losses.extra=Entropy", "--losses.extra.weight=2")["losses"]
    assert added["extra"]["init_args"]["weight"] == 2.0


def test_an_inline_recipe_is_read(run):
    config = printed(run, "fit", "-c", "mine.yaml", "-c", "{trainer: {max_epochs: 9}}")
    assert config["trainer"]["max_epochs"] == 9


# --- mistakes ---------------------------------------------------------------------------------------------------------

MISTAKES = [
    ("--model.learning_rat=1", "no field 'model.learning_rat' (command line); did you mean 'model.learning_rate'?"),
    ("--model.lr=1", "no field 'model.lr' (command line); fields of model are: adapter, checkpoint,"),
    ("--trainer.max_epoch=1", "no field 'trainer.max_epoch' (command line); did you mean 'trainer.max_epochs'?"),
    ("--trainer.learning_rate=1", "did you mean 'model.learning_rate'?"),
    ("--data.route=1", "no field 'data.route' (command line; PaperWorlds); did you mean 'data.routes'?"),
    ("--losses.residual.weigth=1", "(command line; GroundedResidual); did you mean 'losses.residual.weight'?"),
    ("--losses.residual.decay=1", "fields of losses.residual are: clip,"),
    ("--losses.residul.weight=1", "no loss 'losses.residul'; did you mean 'losses.residual'?"),
    ("--comparison.seed=[1]", "did you mean 'comparison.seeds'?"),
    ("--model.adapter=TinyVocabularPolicy", "no class 'TinyVocabularPolicy'; did you mean 'TinyVocabularyPolicy'?"),
    ("--data=PaperWorld", "data (command line): there is no class 'PaperWorld'; did you mean 'PaperWorlds'?"),
    ("--trainer.max_epochs=soon", "trainer.max_epochs is 'soon' (command line); expected int or null"),
    # Two losses have a weight: the one that was given the word is meant.
    ("--losses.anchor.weight=heavy", "losses.anchor.weight is 'heavy' (command line); expected float"),
    ("--data.routes=many", "data.routes is 'many' (command line); expected int"),
    ("--model.trainable=head", "model.trainable is 'head' (command line); expected Literal['heads',"),
    ("--losses.residual.weight=-1", "weight is -1.0"),
    ("--model.learning_rate=-1", "model.learning_rate=-1.0"),
    ("--comparison.arms=[craft]", "comparison.reference is 'pretrained'"),
    ("--trainer.accelerator=abacus", "trainer: "),
    ("--ckpt_path=none.ckpt", "ckpt_path: there is no file none.ckpt"),
    ("word", "unexpected word 'word'"),
]


@pytest.mark.parametrize(("option", "sentence"), MISTAKES, ids=[option for option, _ in MISTAKES])
def test_a_mistake_on_the_command_line_is_one_sentence(run, option, sentence):
    assert sentence in refused(run, "fit", "--config", "mine.yaml", option)


def test_two_sources_of_weights_are_refused_before_either_is_read(run):
    words = ["--model.adapter.pretrained=/nowhere", "--model.checkpoint=/nowhere/else.safetensors"]
    sentence = refused(run, "fit", "--config", "craft_vla", *words)
    assert "model.checkpoint=/nowhere/else.safetensors and model.adapter.pretrained=/nowhere both say" in sentence
    assert "set one of them to null" in sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("trainer: {max_epoch: 1}", "no field 'trainer.max_epoch' (second.yaml); did you mean 'trainer.max_epochs'?"),
        ("moddel: {a: 1}", "no field 'moddel.a' (second.yaml); did you mean 'model'?"),
        (
            "losses: {residual: {init_args: {weigth: 1}}}",
            "(second.yaml; GroundedResidual); did you mean 'losses.residual.",
        ),
        ("losses: {anchor: {class_path: SelfDistilation}}", "losses.anchor (second.yaml): there is no class"),
        ("data: {init_args: {route: 3}}", "'data.route' (second.yaml; PaperWorlds); did you mean 'data.routes'?"),
        (
            "trainer: {callbacks: [{class_path: LearningRateMonitor, init_args: {logging_intervall: step}}]}",
            "(second.yaml; LearningRateMonitor); did you mean 'trainer.callbacks.0.logging_interval'?",
        ),
        ("model: {}: d", "second.yaml is not readable YAML"),
        ("- a", "second.yaml is not a recipe"),
    ],
)
def test_a_mistake_in_a_recipe_names_the_file(run, tmp_path, text, sentence):
    (tmp_path / "second.yaml").write_text(text)
    assert sentence in refused(run, "fit", "--config", "mine.yaml", "--config", "second.yaml")


def test_a_command_without_a_recipe_says_what_is_missing(run):
    assert refused(run, "fit").startswith("model.adapter, data missing; name a recipe with --config")


def test_abbreviations_are_refused_everywhere(run):
    assert "no field 'conf'" in refused(run, "fit", "--conf=mine.yaml")
    assert "no field 'seed'" in refused(run, "validate", "--config=mine.yaml", "--seed=1")


# --- runs -------------------------------------------------------------------------------------------------------------


def test_fit_trains_with_named_losses_compares_and_saves_its_config(run, tmp_path):
    status, output, error = run("fit", "-c", "mine.yaml", "--comparison.seeds=[0,1]", "--seed_everything=3")
    assert status == 0, error
    folder = next((tmp_path / "lightning_logs").iterdir())
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["seed_everything"] == 3
    assert config["losses"]["residual"]["init_args"]["weight"] == 0.5
    comparison = json.loads((folder / "comparison.json").read_text())
    means = {arm: scores["means"]["RC"] for arm, scores in comparison["arms"].items()}
    assert list(means) == ["expert", "pretrained", "craft", "zero_weights"]
    assert means["expert"] == 100.0
    assert means["craft"] != means["pretrained"] == means["zero_weights"]
    assert "all loss weights 0 vs pre-trained: no difference" in " ".join(output.split())
    assert "comparison written to" in output


def test_the_key_of_a_loss_is_its_name(run, monkeypatch):
    names = []
    setup = CraftModule.setup

    def look(self, stage):
        names.extend(getattr(callback, "name", None) for callback in self.trainer.callbacks)
        return setup(self, stage)

    monkeypatch.setattr(CraftModule, "setup", look)
    assert run("fit", "-c", "mine.yaml", "--losses.anchor=null", "--trainer.fast_dev_run=true")[0] == 0
    assert [name for name in names if name] == ["residual"]


@pytest.mark.parametrize("command", ["validate", "test"])
def test_evaluation_commands_log_the_driving_score(run, command):
    # The recipe drives no evaluation routes during a fit (limit_val_batches: 0); asked for, they are driven.
    status, output, error = run(command, "-c", "mine.yaml")
    assert status == 0, error
    assert "driving_score" in output


def test_predict_writes_stamped_records(run, tmp_path):
    status, output, error = run("predict", "-c", "mine.yaml", "--data.routes=3")
    assert status == 0, error
    path = next(tmp_path.rglob("results.json"))
    protocol, records = read_results(path)
    assert (protocol.suite, len(records)) == ("paper_eval", 3)
    assert "3 route records written" in output


# --- checkpoints ------------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(run, tmp_path):
    status, _, error = run("fit", "-c", "mine.yaml")
    assert status == 0, error
    return str(next(tmp_path.rglob("*.ckpt")))


def test_a_checkpoint_says_what_it_gives_and_overrides_nothing(run, checkpoint, monkeypatch):
    seen = {}

    def look(self):
        seen.update(rate=self.optimizers[0].param_groups[0]["lr"], base=self.lr_scheduler_configs[0].scheduler.base_lrs)

    from lightning.pytorch.loops.fit_loop import _FitLoop

    real = _FitLoop.advance
    monkeypatch.setattr(_FitLoop, "advance", lambda self: (look(self.trainer), real(self))[1])
    status, _, error = run(
        "fit", "-c", "mine.yaml", "--trainer.max_epochs=2", "--model.learning_rate=0.04", f"--ckpt_path={checkpoint}"
    )
    assert status == 0, error
    lines = [line for line in error.splitlines() if checkpoint in line and "taking" in line]
    assert len(lines) == 1
    assert "weights, optimizer state and epoch 0" in lines[0]
    assert "model.learning_rate=0.04 (checkpoint: 0.01)" in lines[0]
    assert seen["base"] == [0.04]
    fresh = torch.load(checkpoint, weights_only=True)["optimizer_states"][0]["param_groups"][0]["lr"]
    assert seen["rate"] == pytest.approx(4 * fresh)


def test_an_unchanged_setting_leaves_the_optimizer_state_alone(run, checkpoint):
    from craft_lightning.resume import CommandLineWins

    content = torch.load(checkpoint, weights_only=True)
    before = json.dumps(content["optimizer_states"][0]["param_groups"])
    module = type("Module", (), {"hparams": dict(content["hyper_parameters"])})()
    CommandLineWins(content["hyper_parameters"]).on_load_checkpoint(None, module, content)
    assert json.dumps(content["optimizer_states"][0]["param_groups"]) == before


def test_a_checkpoint_that_would_execute_code_is_refused_and_does_not(run, tmp_path):
    import pickle

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    (tmp_path / "bomb.ckpt").write_bytes(pickle.dumps({"state_dict": Bomb()}))
    assert "nothing in it was executed" in refused(run, "validate", "-c", "mine.yaml", "--ckpt_path=bomb.ckpt")
    torch.save({"state_dict": Bomb()}, tmp_path / "zip.ckpt")
    assert "nothing in it was executed" in refused(run, "validate", "-c", "mine.yaml", "--ckpt_path=zip.ckpt")
    (tmp_path / "cut.ckpt").write_bytes(b"PK\x03\x04 cut off")
    assert "cut.ckpt is broken" in refused(run, "fit", "-c", "mine.yaml", "--ckpt_path=cut.ckpt")
    torch.save({"weights": 1}, tmp_path / "plain.ckpt")
    assert "plain.ckpt has no 'state_dict'" in refused(run, "fit", "-c", "mine.yaml", "--ckpt_path=plain.ckpt")
    assert not (tmp_path / "exploded").exists()


# --- adapters and tools -----------------------------------------------------------------------------------------------


def test_adapters_are_found_by_listing_and_by_entry_point(run, tmp_path, monkeypatch):
    """A third-party distribution as pip would install it: metadata and a module."""
    info = tmp_path / "stranger_adapters-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger-adapters\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[craft_lightning.adapters]\nStranger = stranger:StrangerPolicy\nBad = no_such_module:Bad\n"
    )
    (tmp_path / "stranger.py").write_text(
        "from craft_lightning.testing.tiny import TinyVocabularyPolicy\n\n"
        "class StrangerPolicy(TinyVocabularyPolicy):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.warns(UserWarning, match="adapter 'Bad' of stranger-adapters is left out.*no_such_module"):
        loaded = plugins.load_adapters()
    assert {"craft_lightning.adapters.vocabulary_scorer", "stranger.StrangerPolicy"} <= set(loaded)
    config = printed(run, "fit", "-c", "mine.yaml", "--model.adapter=StrangerPolicy", "--model.adapter.size=12")
    assert config["model"]["adapter"]["class_path"] == "stranger.StrangerPolicy"
    assert config["model"]["adapter"]["init_args"]["size"] == 12


def test_routes_writes_a_suite_that_reads_back(run, tmp_path):
    from craft_lightning.roads.routes import read_routes

    status, output, error = run(
        "routes", "--town", "craftville", "--count", "3", "--seed", "5", "--output", "out/r.xml"
    )
    assert status == 0, error
    routes = read_routes(tmp_path / "out/r.xml")
    assert len(routes) == 3
    assert "3 routes of craftville" in output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--count", "0", "--output", "r.xml"], "--count is 0"),
        (["--count", "x", "--output", "r.xml"], "invalid int value: 'x'"),
        ([], "--output"),
        (["--town", "atlantis", "--output", "r.xml"], "atlantis"),
    ],
)
def test_routes_refuses_in_one_sentence(run, words, sentence):
    assert sentence in refused(run, "routes", *words)


def test_benchmark_says_where_benchmarks_are(run, monkeypatch, tmp_path):
    monkeypatch.setattr(commands, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    assert "clone the repository" in refused(run, "benchmark", "--quick")


def test_a_broken_file_among_the_adapters_is_left_out_and_named(monkeypatch, tmp_path):
    from craft_lightning import adapters, plugins

    (tmp_path / "half_written.py").write_text("class None:\n")
    monkeypatch.setattr(adapters, "__path__", [str(tmp_path), *adapters.__path__])
    with pytest.warns(UserWarning, match=r"half_written\.py is left out, it fails to import: SyntaxError"):
        loaded = plugins.load_adapters()
    assert "craft_lightning.adapters.vocabulary_scorer" in loaded
    assert not any("half_written" in name for name in loaded)
