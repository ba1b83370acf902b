"""Other ways of running tools beside a model, played on the same tasks with the same times."""
