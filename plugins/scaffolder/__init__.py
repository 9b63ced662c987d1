"""Scaffolder: Airflow workflows in which AI agents and templates produce software projects.

Start reading at ``workflows`` (what runs), ``operators`` (one step of it), ``records`` (what is remembered).
"""

__version__ = "0.1.0"
