"""Logistic regression on the embedding, its C chosen by cross-validation."""

from benchmarks.fusionbench.methods._parts import EncoderAlone

NAME = "encoder alone"
make = EncoderAlone
