"""Serialises commands, once, into what is stored and sent."""

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from merchant_adapter import methods
from merchant_adapter.commands import (
    AnyCommand,
    EnrollMember,
    IssuePayCode,
    LinkAlias,
    SetConsent,
    StartContactProof,
    UnlinkAlias,
)
from merchant_adapter.points import points_method
from merchant_adapter.points_commands import PointsCommand
from merchant_adapter.prepared import Prepared
from merchant_adapter.to_messages import (
    to_consent_request,
    to_enroll_request,
    to_link_request,
    to_pay_code_request,
    to_proof_request,
    to_unlink_request,
)
from tongdui.exchange.v1.commands_pb2 import Command
from tongdui.exchange.v1.members_service_pb2 import BatchEnrollMembersRequest, BatchLinkAliasesRequest
from tongdui.exchange.v1.points_service_pb2 import PostBatchRequest


def prepare(command: AnyCommand) -> Prepared:
    """One command by itself; raises InvalidRequest naming a field that cannot be written."""
    path, message = _path_and_message(command)
    return Prepared(path, message.SerializeToString(), (command.request_id,))


def prepare_batch(commands: Sequence[PointsCommand[Any]]) -> Prepared:
    """1 to 1,000 commands on points of any kind, decided in this order and independently of one another."""
    request = PostBatchRequest(commands=[_one_of_a_batch(command) for command in commands])
    return Prepared(methods.POST_BATCH, request.SerializeToString(), _ids(commands))


def prepare_enrollments(members: Sequence[EnrollMember]) -> Prepared:
    """1 to 1,000 enrolments in one transaction."""
    request = BatchEnrollMembersRequest(requests=[to_enroll_request(member) for member in members])
    return Prepared(methods.BATCH_ENROLL_MEMBERS, request.SerializeToString(), _ids(members))


def prepare_links(aliases: Sequence[LinkAlias]) -> Prepared:
    """1 to 1,000 links in one transaction."""
    request = BatchLinkAliasesRequest(requests=[to_link_request(alias) for alias in aliases])
    return Prepared(methods.BATCH_LINK_ALIASES, request.SerializeToString(), _ids(aliases))


def _path_and_message(command: AnyCommand) -> tuple[str, Message]:
    match command:
        case EnrollMember():
            return methods.ENROLL_MEMBER, to_enroll_request(command)
        case LinkAlias():
            return methods.LINK_ALIAS, to_link_request(command)
        case SetConsent():
            return methods.SET_CONSENT, to_consent_request(command)
        case StartContactProof():
            return methods.START_CONTACT_PROOF, to_proof_request(command)
        case UnlinkAlias():
            return methods.UNLINK_ALIAS, to_unlink_request(command)
        case IssuePayCode():
            return methods.ISSUE_PAY_CODE, to_pay_code_request(command)
        case PointsCommand():
            method = points_method(command)
            return method.path, method.write(command)


def _one_of_a_batch(command: PointsCommand[Any]) -> Command:
    method = points_method(command)
    fields: dict[str, Any] = {method.name: method.write(command)}
    return Command(**fields)


def _ids(commands: Sequence[AnyCommand]) -> tuple[str, ...]:
    return tuple(command.request_id for command in commands)
