"""What agents say they offer."""

from __future__ import annotations

from scaffolder.records.access import RecordsAccess


class EndpointRecords(RecordsAccess):
    """Descriptions of agents and their endpoints, over one open connection."""
