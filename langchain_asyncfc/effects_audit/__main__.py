"""Run the audit from a shell."""

from __future__ import annotations

from langchain_asyncfc.effects_audit.command import main

raise SystemExit(main())
