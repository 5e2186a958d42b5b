# Shortcuts for `python3 tasks.py …`, which works on every system and sets up what it needs.
PYTHON ?= python3

.PHONY: demo test test-fast lint benchmark examples site golden

demo test test-fast lint benchmark examples site golden:
	$(PYTHON) tasks.py $@
