"""`SendNotificationsOperator`: tell channels of what happened, and of what could not be told before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from scaffolder.config import get_settings
from scaffolder.operators.observing import observing_task
from scaffolder.operators.step import failing_at_once
from scaffolder.records.hook import DEFAULT_CONN_ID, ProjectRecordsHook

if TYPE_CHECKING:
    from airflow.sdk import Context


class SendNotificationsOperator(BaseOperator):
    """Send what the setting ``notifications`` asks for and is due.

    XCom gets ``{"queued", "sent", "later", "failed", "unusable"}``: how many, and the names of channels whose
    configuration cannot be used. What a receiver does fails no task; the log has it. The task fails where the records
    are away. Any number of these tasks may run at once: they share the work.

    :param scaffolder_conn_id: the connection of the records' database.
    """

    ui_color = "#f7ecd8"

    def __init__(self, *, scaffolder_conn_id: str = DEFAULT_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scaffolder_conn_id = scaffolder_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Send all that is due. Raises RecordsUnavailableError."""
        from scaffolder.notifications.channels import load_channels
        from scaffolder.notifications.hook import open_deliveries
        from scaffolder.notifications.service import send_due_notifications

        settings = get_settings()
        with (
            observing_task(),
            failing_at_once(),
            ProjectRecordsHook(self.scaffolder_conn_id).open() as records,
            open_deliveries(context, settings=settings) as deliver,
        ):
            counts = send_due_notifications(
                records.notifications,
                channels=load_channels(settings.notifications),
                deliver=deliver,
                settings=settings,
                report=lambda sentence: self.log.warning("%s", sentence),
            )
        self.log.info("%s sent, %s to be tried again, %s failed for good", counts.sent, counts.later, counts.failed)
        return counts.to_json()
