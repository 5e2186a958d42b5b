"""One module for each job task, named like its entry point. They are the same for every problem."""
