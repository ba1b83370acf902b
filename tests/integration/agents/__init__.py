"""Agents of `create_agent` with `AsyncFCMiddleware`, next to other middleware and inside others."""
