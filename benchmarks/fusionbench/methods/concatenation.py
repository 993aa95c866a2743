"""The published recipe, an MLP on embedding and votes: `FusionClassifier(fusion="concat")`."""

from functools import partial

from benchmarks.fusionbench.methods import fusion

NAME = "concatenation"
make = partial(fusion.make, fusion="concat")
