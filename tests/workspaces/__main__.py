"""Tells the story. Processes import the file that started them anew: this one is short, and they leave it alone."""

from story import main

main()
