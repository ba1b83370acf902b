"""Other ways of running tools while a model goes on, played on the same tasks with the same times."""
