"""`tongdui-hub partner`."""

import argparse

from operator_console.arguments import Commands, Verbs
from operator_console.desk import Desk, Shown
from operator_console.screen import columns, details, table
from tongdui.exchange.v1 import partners_service_pb2 as pb2


def add(commands: Commands, summary: str) -> None:
    """Adds the noun and its verbs."""
    verbs = Verbs(commands, "partner", summary)
    create = verbs.write("create", "create a partner", run_create)
    create.add_argument("partner", metavar="ID", help="its id, a-z, 0-9 and hyphens, for ever")
    create.add_argument("--name", required=True, help="the name people know it by")
    create.add_argument(
        "--attestation",
        action="store_true",
        help="its contract lets it link members and pass on consents on its own word",
    )
    verbs.read("list", "list partners by id", run_list)


def run_create(desk: Desk, arguments: argparse.Namespace) -> Shown:
    """Creates a partner."""
    partner = pb2.Partner(
        partner_id=arguments.partner, display_name=arguments.name, attestation_allowed=arguments.attestation
    )
    request = pb2.CreatePartnerRequest(request_id=desk.request_id, partner=partner)
    answer = desk.call("CreatePartner", request)
    return Shown(answer, details(answer["partner"]))


def run_list(desk: Desk, _: argparse.Namespace) -> Shown:
    """Lists partners."""
    rows = desk.pages("ListPartners", pb2.ListPartnersRequest(), "partners")
    shown = columns("partner_id", "display_name", "attestation_allowed", "create_time")
    return Shown({"partners": rows}, table(rows, shown, "no partners yet"))
