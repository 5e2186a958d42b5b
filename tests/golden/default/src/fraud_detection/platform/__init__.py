"""What the tasks share: registry, tables, parameters, drift, the report. It is the same for every problem."""
