"""Sending what is due: every event to every channel that is to be told of it, by any number of senders at once.

A notification is claimed and recorded in statements of their own; nothing is locked while it is sent. Whoever dies
between sending and recording leaves it to be sent again under the same id: at least once, with an id to drop the
second by.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from scaffolder.config import Settings
from scaffolder.errors import SettingsError
from scaffolder.notifications.channels import Channel
from scaffolder.notifications.delivery import Deliver, Outcome
from scaffolder.observability import metrics
from scaffolder.records.notifications import Notification, NotificationRecords

#: After so many failures in a row a channel is left alone until the next round, and its other notifications with it.
MAX_FAILURES_IN_A_ROW: Final = 3
#: No receiver, and no number of failures, makes a notification wait for longer.
MAX_WAIT_SECONDS: Final = 86_400
#: What does not fit into one round is for the next: a task that runs for hours is a task that gets killed.
ROUND_SECONDS: Final = 900
# A notifier has no time-out that we could set.
_WEBHOOK_SLACK_SECONDS: Final = 60
_NOTIFIER_LEASE_SECONDS: Final = 900


@dataclass
class SendingCounts:
    """What one round has come to. `later` will be tried again; `unusable` are channels whose configuration is wrong."""

    queued: int = 0
    sent: int = 0
    later: int = 0
    failed: int = 0
    unusable: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return them as plain data."""
        return vars(self).copy()


def send_due_notifications(
    records: NotificationRecords,
    *,
    channels: Iterable[Channel],
    deliver: Deliver,
    settings: Settings,
    report: Callable[[str], None],
) -> SendingCounts:
    """Tell `channels` of what they were not told yet and of what is to be tried again, and return what came of it.

    `report` gets a sentence for whatever could not be sent. Raises RecordsUnavailableError; nothing that a receiver
    does is an error.
    """
    return _Round(records, deliver=deliver, settings=settings, report=report).run(channels)


class _Round:
    """One look at all channels."""

    def __init__(
        self, records: NotificationRecords, *, deliver: Deliver, settings: Settings, report: Callable[[str], None]
    ) -> None:
        self._records = records
        self._deliver = deliver
        self._settings = settings
        self._report = report
        self._counts = SendingCounts()
        self._failures: dict[str, int] = {}

    def run(self, channels: Iterable[Channel]) -> SendingCounts:
        self._fail_aged()
        left = deque(channels)
        slugs = self._records.list_projects()
        for channel in left:
            self._enqueue(channel, slugs)
        ends_at = time.monotonic() + ROUND_SECONDS
        # One of each in turn: a slow receiver does not keep the others waiting for all of its own.
        while left and time.monotonic() < ends_at:
            channel = left.popleft()
            if self._send_next(channel):
                left.append(channel)
        return self._counts

    def _fail_aged(self) -> None:
        days = self._settings.notification_max_age_days
        if aged := self._records.fail_aged(max_age_days=days):
            self._counts.failed += aged
            metrics.count(metrics.NOTIFICATION_AGED, aged)
            self._report(f"{aged} notification(s) were not sent within {days} day(s) and have failed")

    def _enqueue(self, channel: Channel, slugs: list[str]) -> None:
        self._records.register(channel.name)
        self._counts.queued += self._records.enqueue(
            channel.name,
            event_types=channel.event_types,
            projects=channel.choose_projects(slugs),
            max_age_days=self._settings.notification_max_age_days,
        )

    def _send_next(self, channel: Channel) -> bool:
        """Send the next one of `channel`, and say whether to go on with it in this round."""
        notification = self._records.claim(channel.name, lease_seconds=_lease_seconds(channel, self._settings))
        if notification is None:
            return False
        if notification.generated_project_id is None:
            self._fail(notification, "its generated project is gone")
            return True
        if notification.attempts > self._settings.notification_tries:
            self._fail(notification, "whoever was to send it was ended each time")
            return True
        try:
            outcome = self._deliver(channel, notification)
        except SettingsError as error:
            self._records.give_back(notification)
            self._counts.unusable.append(channel.name)
            self._report(f"channel {channel.name!r} cannot be used: {error}")
            return False
        return self._record(notification, outcome)

    def _record(self, notification: Notification, outcome: Outcome) -> bool:
        if outcome.state == "unavailable":
            return self._postpone(notification, outcome)
        self._failures[notification.channel] = 0
        if outcome.state == "sent":
            self._records.mark_sent(notification)
            self._counts.sent += 1
            metrics.count(metrics.NOTIFICATION_SENT, channel=notification.channel)
        else:
            self._fail(notification, outcome.reason)
        return True

    def _postpone(self, notification: Notification, outcome: Outcome) -> bool:
        channel, tries = notification.channel, self._settings.notification_tries
        asked = min(outcome.retry_after_seconds or 0.0, MAX_WAIT_SECONDS)
        if asked:
            # It is the receiver that wants to be left alone, not this one notification.
            self._records.block(channel, seconds=asked)
        if notification.attempts >= tries:
            self._fail(notification, f"{outcome.reason} (try {notification.attempts} of {tries})")
        else:
            seconds = max(asked, _back_off(notification.attempts, self._settings))
            self._records.postpone(notification, error=outcome.reason, seconds=seconds)
            self._counts.later += 1
            metrics.count(metrics.NOTIFICATION_POSTPONED, channel=channel)
            self._report(
                f"{_show(notification)} is tried again in {seconds:.0f} s at the earliest (try {notification.attempts} "
                f"of {tries}): {outcome.reason}"
            )
        self._failures[channel] = self._failures.get(channel, 0) + 1
        return not asked and self._failures[channel] < MAX_FAILURES_IN_A_ROW

    def _fail(self, notification: Notification, reason: str) -> None:
        self._records.mark_failed(notification, error=reason)
        self._counts.failed += 1
        metrics.count(metrics.NOTIFICATION_FAILED, channel=notification.channel)
        self._report(f"{_show(notification)} has failed: {reason}")


def _back_off(attempts: int, settings: Settings) -> float:
    # With jitter: those that failed together don't come back together.
    jitter = random.uniform(0.5, 1.5)  # noqa: S311  # no secret
    # Beyond 20 doublings every first wait is over the limit.
    return min(settings.notification_backoff_seconds * 2.0 ** min(attempts - 1, 20) * jitter, MAX_WAIT_SECONDS)


def _lease_seconds(channel: Channel, settings: Settings) -> float:
    if channel.webhook_conn_id is None:
        return _NOTIFIER_LEASE_SECONDS
    return settings.notification_timeout_seconds + _WEBHOOK_SLACK_SECONDS


def _show(notification: Notification) -> str:
    return f"event {notification.event_id} ({notification.event_type}) for channel {notification.channel!r}"
