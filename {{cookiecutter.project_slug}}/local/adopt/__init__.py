"""`python -m local adopt`: makes a table of one's own the problem of this project. Never deployed."""
