"""Logistic regression on embedding and votes side by side, C chosen by cross-validation."""

from benchmarks.fusionbench.methods._parts import TunedLogistic

NAME = "logistic regression"
make = TunedLogistic
