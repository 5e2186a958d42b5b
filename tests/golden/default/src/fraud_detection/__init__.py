"""Trains, validates, serves and monitors a model on Databricks. One module per job task, plus shared helpers."""
