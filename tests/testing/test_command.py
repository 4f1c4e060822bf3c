"""``python -m craft_lightning.testing``: a table, JSON, exit statuses."""

import json

import pytest

from craft_lightning.testing import __main__ as command
from craft_lightning.testing.checks import CHECKS
from craft_lightning.testing.tiny import TinyVocabularyPolicy


class Unmakeable(TinyVocabularyPolicy):
    @classmethod
    def example(cls):
        raise FileNotFoundError("weights.bin")


class Forgetful(TinyVocabularyPolicy):
    def forward(self, context, candidates):
        self.temperature.mul_(1.5)
        return super().forward(context, candidates)


@pytest.fixture
def adapters(monkeypatch):
    found = {cls.__name__: cls for cls in (TinyVocabularyPolicy, Unmakeable, Forgetful)}
    monkeypatch.setattr(command, "registered_adapters", lambda: found)


def test_a_table_with_progress_and_the_sentence_of_every_failure(adapters, capsys):
    assert command.main([]) == 1
    out, err = capsys.readouterr()
    assert "[2/3] Unmakeable" in err
    row = next(line for line in out.splitlines() if "TinyVocabularyPolicy" in line)
    assert "yes" in row
    assert f"{len(CHECKS)} of {len(CHECKS)}" in row
    assert "Unmakeable fails 1 of 1" in out
    assert "example() ends in FileNotFoundError: weights.bin" in out
    assert "Forgetful fails" in out


def test_names_choose_and_json_is_one_object_a_line(adapters, capsys):
    assert command.main(["TinyVocabularyPolicy", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    read = json.loads(line)
    assert read["name"] == "TinyVocabularyPolicy"
    assert read["passed"]
    assert read["numbers"]["family"] == "vocabulary"


def test_an_unknown_name_is_one_sentence(adapters, capsys):
    assert command.main(["TinyVocabularyPolicyy"]) == 2
    assert capsys.readouterr().err == (
        "error: no adapter is called 'TinyVocabularyPolicyy'; did you mean TinyVocabularyPolicy?\n"
    )
