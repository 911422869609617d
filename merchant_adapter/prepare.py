"""Serialises commands, once, into what is stored and sent."""

from collections.abc import Sequence

from merchant_adapter import methods
from merchant_adapter.commands import (
    AnyCommand,
    BurnCommand,
    EarnCommand,
    EnrollMember,
    LinkAlias,
    PointsCommand,
    SetConsent,
)
from merchant_adapter.prepared import Prepared
from merchant_adapter.to_messages import to_command, to_enroll_request, to_link_request, to_message
from tongdui.exchange.v1.members_service_pb2 import BatchEnrollMembersRequest, BatchLinkAliasesRequest
from tongdui.exchange.v1.points_service_pb2 import PostBatchRequest

_PATHS: dict[type[AnyCommand], str] = {
    EarnCommand: methods.EARN,
    BurnCommand: methods.BURN,
    EnrollMember: methods.ENROLL_MEMBER,
    LinkAlias: methods.LINK_ALIAS,
    SetConsent: methods.SET_CONSENT,
}


def prepare(command: AnyCommand) -> Prepared:
    """One command by itself; raises InvalidRequest naming a field that cannot be written."""
    return Prepared(_PATHS[type(command)], to_message(command).SerializeToString(), (command.request_id,))


def prepare_batch(commands: Sequence[PointsCommand]) -> Prepared:
    """1 to 1,000 earns and burns, to be decided in this order and independently of one another."""
    request = PostBatchRequest(commands=[to_command(command) for command in commands])
    return Prepared(methods.POST_BATCH, request.SerializeToString(), _ids(commands))


def prepare_enrollments(members: Sequence[EnrollMember]) -> Prepared:
    """1 to 1,000 enrolments in one transaction."""
    request = BatchEnrollMembersRequest(requests=[to_enroll_request(member) for member in members])
    return Prepared(methods.BATCH_ENROLL_MEMBERS, request.SerializeToString(), _ids(members))


def prepare_links(aliases: Sequence[LinkAlias]) -> Prepared:
    """1 to 1,000 links in one transaction."""
    request = BatchLinkAliasesRequest(requests=[to_link_request(alias) for alias in aliases])
    return Prepared(methods.BATCH_LINK_ALIASES, request.SerializeToString(), _ids(aliases))


def _ids(commands: Sequence[AnyCommand]) -> tuple[str, ...]:
    return tuple(command.request_id for command in commands)
