"""Where calls run: as asyncio tasks, in threads, or wherever an `Executor` puts them."""

from langchain_asyncfc.executors.base import Executor, Home, Job
from langchain_asyncfc.executors.tasks import LoopHome, TaskExecutor
from langchain_asyncfc.executors.threads import (
    ThreadExecutor,
    ThreadHome,
    WorkerPool,
    background_loop,
    wait_at_exit,
    worker_pool,
)

__all__ = [
    "Executor",
    "Home",
    "Job",
    "LoopHome",
    "TaskExecutor",
    "ThreadExecutor",
    "ThreadHome",
    "WorkerPool",
    "background_loop",
    "wait_at_exit",
    "worker_pool",
]
