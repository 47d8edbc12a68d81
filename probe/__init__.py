"""The probe: one's own image, live, in the atlas's own words.

A process of its own holds the networks (`neuron-atlas probe`); the service forwards to it what needs one, and imports
neither torch nor Ray. `probe.protocol` is what the two share.
"""
