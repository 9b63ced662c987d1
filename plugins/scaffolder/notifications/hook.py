"""Channels through Airflow: `WebhookHook` reads a webhook's connection, `open_deliveries` reaches any channel.

Every secret of a connection is masked in Airflow's logs before it is used.
"""

from __future__ import annotations

import asyncio
import copy
import importlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from airflow.sdk import BaseHook, BaseNotifier
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSecretsBackendAccessDenied
from airflow.sdk.log import mask_secret

from scaffolder.config import Settings
from scaffolder.errors import SettingsError
from scaffolder.notifications.channels import Channel
from scaffolder.notifications.delivery import Deliver, Outcome, describe_notification
from scaffolder.notifications.webhook import CONNECTION_TYPES, Webhook, WebhookClient, parse_webhook
from scaffolder.records.notifications import Notification

log = logging.getLogger(__name__)

_ACCEPTED: Final = " or ".join(repr(one) for one in CONNECTION_TYPES)


class WebhookHook(BaseHook):
    """Read a webhook's connection: host is its URL, password the secret that signs.

    The type is ``http``, or ``generic`` where Airflow's HTTP provider is not installed. The extra ``ca_certificate``
    (PEM text or path) is for ``https:`` URLs with an authority of their own.

    :param webhook_conn_id: the connection.
    """

    conn_name_attr = "webhook_conn_id"

    def __init__(self, webhook_conn_id: str) -> None:
        super().__init__()
        self.webhook_conn_id = webhook_conn_id

    def get_conn(self) -> Webhook:
        """Return the webhook. Raises SettingsError."""
        conn_id = self.webhook_conn_id
        try:
            connection = BaseHook.get_connection(conn_id)
        except AirflowSecretsBackendAccessDenied as error:
            raise SettingsError(f"Airflow does not let this task read connection {conn_id!r}") from error
        except AirflowNotFoundException as error:
            raise SettingsError(f"there is no connection {conn_id!r}; accepted is one of type {_ACCEPTED}") from error
        if connection.conn_type not in CONNECTION_TYPES:
            raise SettingsError(f"connection {conn_id!r} is of type {connection.conn_type!r}; accepted is {_ACCEPTED}")
        webhook = parse_webhook(
            conn_id,
            host=connection.host,
            port=connection.port,
            schema=connection.schema,
            login=connection.login,
            password=connection.password,
            extra=_read_extra(conn_id, connection.extra),
        )
        for secret in webhook.secrets:
            mask_secret(secret)
        return webhook


@contextmanager
def open_deliveries(context: Mapping[str, Any], *, settings: Settings) -> Iterator[Deliver]:
    """Yield what delivers to any channel. `context` is the task's; notifiers get a copy of it."""
    deliveries = _Deliveries(context, settings=settings)
    with deliveries.runner:
        try:
            yield deliveries.deliver
        finally:
            deliveries.close()


class _Deliveries:
    """The clients of one round: connections are read once, and stay open."""

    def __init__(self, context: Mapping[str, Any], *, settings: Settings) -> None:
        self.runner = asyncio.Runner()
        self._context = context
        self._settings = settings
        self._clients: dict[str, WebhookClient] = {}

    def deliver(self, channel: Channel, notification: Notification) -> Outcome:
        """Deliver once. Raises SettingsError."""
        if channel.webhook_conn_id is None:
            return self._notify(channel, notification)
        return self.runner.run(self._find_client(channel.webhook_conn_id).send(notification))

    def close(self) -> None:
        for client in self._clients.values():
            self.runner.run(client.aclose())

    def _find_client(self, conn_id: str) -> WebhookClient:
        if conn_id not in self._clients:
            webhook = WebhookHook(conn_id).get_conn()
            self._clients[conn_id] = WebhookClient(webhook, timeout_seconds=self._settings.notification_timeout_seconds)
        return self._clients[conn_id]

    def _notify(self, channel: Channel, notification: Notification) -> Outcome:
        # A new one each time: rendering replaces its fields.
        notifier = make_notifier(channel)
        context: Any = {**self._context, **describe_notification(notification)}
        try:
            if type(notifier).notify is not BaseNotifier.notify:
                notifier(context)
            else:
                notifier.context = context
                self.runner.run(_await(notifier))
        except Exception as error:
            # Anybody's code: what it says may hold what nobody should see. Airflow's log hides what it knows as secret.
            log.exception("Notifier %r of channel %r", channel.notifier, channel.name)
            reason = f"notifier {channel.notifier!r} raised {type(error).__name__}; the task's log has more"
            return Outcome(state="unavailable", reason=reason)
        return Outcome(state="sent")


def make_notifier(channel: Channel) -> BaseNotifier:
    """Return the notifier of `channel`, made from its arguments. Raises SettingsError."""
    module, _, name = (channel.notifier or "").rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"notifier {channel.notifier!r} is not there ({type(error).__name__})") from error
    if not isinstance(found, type) or not issubclass(found, BaseNotifier):
        raise SettingsError(f"notifier {channel.notifier!r} is none; accepted is a subclass of BaseNotifier")
    try:
        return found(**copy.deepcopy(channel.arguments))
    except Exception as error:
        # Names of arguments are no secrets, but an error may also hold values.
        raise SettingsError(
            f"notifier {channel.notifier!r} does not take the arguments {sorted(channel.arguments)} "
            f"({type(error).__name__})"
        ) from error


async def _await(notifier: BaseNotifier) -> None:
    await notifier


def _read_extra(conn_id: str, text: str | None) -> dict[str, Any]:
    # Airflow's own reader takes broken JSON for an empty extra.
    try:
        extra = json.loads(text) if text else {}
    except ValueError:
        raise SettingsError(f"connection {conn_id!r} has an extra that is no JSON") from None
    if not isinstance(extra, dict):
        raise SettingsError(f"connection {conn_id!r} has an extra that is no JSON object")
    return extra
