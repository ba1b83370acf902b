"""A stand-in for a model's service: OpenAI-compatible chat completions over HTTP on loopback.

It speaks at a model's pace and refuses what the real service refuses. What it says is a function
of the request: `replies` has what that function returns, `wire` what it is given, `endpoint` the
service itself and `pace` its speed. The example in `examples/repair` and the benchmarks play
their models on it.
"""
