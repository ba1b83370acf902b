"""A software-repair agent, run with `ToolNode` and then with `AsyncFCToolNode`.

Start it from the repository's root with `python -m examples.repair`. The folder reads in this
order: `workspace` (the broken project in a temporary folder), `tools` (what the agent can do),
`agent` (the graph), `recording` and `metrics` (what ran when), `view` (the live picture),
`report` (the table at the end), `__main__` (the command line). `history`, `policy` and
`knowledge` are the stand-in for a model: a competent engineer, played on the OpenAI-compatible
service of `examples/scripted`.
"""
