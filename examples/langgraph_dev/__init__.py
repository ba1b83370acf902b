"""A research agent for `langgraph dev`; `langgraph.json` names the graph in `agent`."""
