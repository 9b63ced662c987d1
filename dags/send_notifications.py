"""Tells the channels of SCAFFOLDER_NOTIFICATIONS what happened: at once, and every few minutes what is left.

There is no such DAG where nobody is to be told.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, AssetOrTimeSchedule, DeltaTriggerTimetable

from scaffolder.config import get_settings
from scaffolder.notifications.channels import load_channels
from scaffolder.operators import SendNotificationsOperator
from scaffolder.operators.assets import GENERATED_PROJECT_READY, REPOSITORY_EXPORTED

_settings = get_settings()
if load_channels(_settings.notifications):
    with DAG(
        dag_id="send_notifications",
        dag_display_name="Send notifications",
        description="Webhooks and notifiers that are told of generated projects and their exports.",
        schedule=AssetOrTimeSchedule(
            assets=GENERATED_PROJECT_READY | REPOSITORY_EXPORTED,
            timetable=DeltaTriggerTimetable(timedelta(minutes=_settings.notification_interval_minutes)),
        ),
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        tags=["scaffolder"],
    ):
        SendNotificationsOperator(
            task_id="send",
            retries=2,
            retry_delay=timedelta(minutes=1),
            execution_timeout=timedelta(minutes=30),  # a notifier may hang for ever
        )
