# Shortcuts for `python3 tasks.py …`, which works on every system and sets up what it needs.
PYTHON ?= python3

.PHONY: demo test test-fast lint benchmark golden

demo test test-fast lint benchmark golden:
	$(PYTHON) tasks.py $@
