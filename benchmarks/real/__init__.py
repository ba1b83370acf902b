"""The end-to-end benchmark with a real model, in wall-clock time.

The folder reads in this order: `questions` (what is asked), `stage` (what the tools act on and
how long they take), `ways` (the graphs), `episodes` (one run), `checker` (BFCL's own verdict),
`cache` (what was measured, on disk), `models` (the model's client, and what its errors mean),
`costs` (what it takes, before it starts), `suite` (all runs), `compare` and `report` (the
figures), `cli` (the command line). `endpoint` is a stand-in for a model that plays the ground
truth over HTTP.
"""
