"""The only file of this folder that Airflow's plugin loader runs; the package beside it is imported as usual.

Where the package is installed, its entry point has the plugin, and Airflow refuses to have one twice.
"""

from importlib.metadata import entry_points

if not entry_points(group="airflow.plugins", name="scaffolder"):
    from scaffolder.plugin import ScaffolderPlugin  # noqa: F401  # Airflow looks for it here
