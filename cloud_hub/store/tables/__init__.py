"""The tables. Times `*_s` are UTC seconds since 1970 by the gateway's clock, except `received_s`, `first_seen_s`,
`last_seen_s` and `added_s`, and those of certificates and tokens, which are by the hub's.

What gateways report is keyed by gateway: none can touch what another one has reported, and a machine that two gateways
watch has points under both.
"""

from cloud_hub.store.tables.accounts import (
    Account,
    AccountLink,
    ApiToken,
    IdempotencyKey,
    LoginDevice,
    LoginSession,
)
from cloud_hub.store.tables.alarms import Alarm, AlarmAction, AlarmEvent, AlarmEvidence, AlarmSuppression
from cloud_hub.store.tables.audit import AuditEntry
from cloud_hub.store.tables.base import Base, FreeText, table_of
from cloud_hub.store.tables.captures import Capture, CaptureChunk
from cloud_hub.store.tables.datasets import Dataset, DatasetSource, DatasetVersion, Label, Upload
from cloud_hub.store.tables.fleet import Gateway, GatewaySite, GatewaySlot, Health, Machine, Point
from cloud_hub.store.tables.hooks import Hook, HookCursor, HookDelivery, HookGateway
from cloud_hub.store.tables.identity import Certificate, EnrolToken
from cloud_hub.store.tables.jobs import Candidate, TrainingJob
from cloud_hub.store.tables.registry import Ack, Bundle, Want, WantBundle
from cloud_hub.store.tables.rollouts import Rollout, RolloutMember, RolloutNote
from cloud_hub.store.tables.trends import Trend, TrendBatch, TrendBucket, TrendKeep, TrendMark

__all__ = [
    "Account",
    "AccountLink",
    "Ack",
    "Alarm",
    "AlarmAction",
    "AlarmEvent",
    "AlarmEvidence",
    "AlarmSuppression",
    "ApiToken",
    "AuditEntry",
    "Base",
    "Bundle",
    "Candidate",
    "Capture",
    "CaptureChunk",
    "Certificate",
    "Dataset",
    "DatasetSource",
    "DatasetVersion",
    "EnrolToken",
    "FreeText",
    "Gateway",
    "GatewaySite",
    "GatewaySlot",
    "Health",
    "Hook",
    "HookCursor",
    "HookDelivery",
    "HookGateway",
    "IdempotencyKey",
    "Label",
    "LoginDevice",
    "LoginSession",
    "Machine",
    "Point",
    "Rollout",
    "RolloutMember",
    "RolloutNote",
    "TrainingJob",
    "Trend",
    "TrendBatch",
    "TrendBucket",
    "TrendKeep",
    "TrendMark",
    "Upload",
    "Want",
    "WantBundle",
    "table_of",
]
