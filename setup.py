"""Lets Beam build the package with `--setup_file ./setup.py`; everything is declared in pyproject.toml."""

from setuptools import setup

setup()
