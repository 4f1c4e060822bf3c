"""What the explainer of wrong fields works with, apart from the command line."""

from craft_lightning.mistakes import constructor_fields, explain, given_fields
from craft_lightning.rollouts.datamodule import DrivingDataModule


def test_messages_the_explainer_has_never_seen_are_flattened():
    assert explain("some\n  new\tcomplaint", [], [], []) == "some new complaint"


def test_given_fields_remember_their_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("data: {init_args: {worlds: 2}}")
    fields = {item.field: (item.value, item.source) for item in given_fields(["-c", "a.yaml", "--data.town", "x"])}
    assert fields["data.worlds"] == (2, "a.yaml")
    assert fields["data.town"] == ("x", "command line")


def test_constructor_fields_follow_the_parents_through_keyword_arguments():
    fields = constructor_fields(DrivingDataModule)
    assert {"transitions", "worlds", "town"} <= set(fields)
    assert "worlds_arguments" not in fields
