"""Optimised pictures: what would drive a neuron or a class most, and what such a picture is worth."""
