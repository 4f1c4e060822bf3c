"""The counterfactual world: every candidate of every visited state, rolled out and scored."""
