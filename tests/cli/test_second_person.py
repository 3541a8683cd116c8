"""A second account agrees, and what happens without it: nothing but programs and what they print."""

from __future__ import annotations

from tests.cli.operators import Operator, Pair
from tests.lab.postgres import ACCOUNT
from tests.opsconsole.wiping import NAME


def test_a_second_account_agrees(pair: Pair) -> None:
    first, other = pair.first, pair.other
    wipe = {"hosts": [_host_id(first)]}
    status, refused = first("call", NAME, given=wipe)
    assert (status, refused["code"], refused["data"]["expect"]) == (7, "approval_required", "approval")
    assert refused["data"]["eligible"] == [ACCOUNT]
    status, asked = first("call", NAME, "--request-approval", "--reason", "scrap", given=wipe)
    assert (status, asked["state"], asked["eligible"]) == (0, "pending", [ACCOUNT])
    approval = asked["approval_id"]

    status, refused = first("approvals", "approve", approval, "--confirm", "yes")
    assert (status, refused["code"]) == (3, "permission_denied")
    status, refused = first("approvals", "approve", approval, "--confirm", "yes", "--as", ACCOUNT)
    assert (status, refused["code"]) == (3, "permission_denied")
    assert "second person to himself" in refused["message"]
    status, refused = first("call", NAME, "--confirm", approval, given=wipe)
    assert (status, refused["code"]) == (5, "approval_invalid")

    status, listed = other("approvals", "list", "--to-decide")
    assert (status, [row["id"] for row in listed["results"]]) == (0, [approval])
    status, plan = other("approvals", "get", approval, "--fresh")
    assert (status, plan["fresh"]["same"], plan["plan"]["targets"][0]["name"]) == (0, True, "old-1")
    status, refused = other("approvals", "approve", approval)
    assert (status, refused["data"]["expect"]) == (7, "yes")
    status, agreed = other("approvals", "approve", approval, "--confirm", "yes")
    assert (status, agreed["state"], agreed["decided_by"]) == (0, "approved", ACCOUNT)

    status, refused = other("call", NAME, "--confirm", approval, given=wipe)
    assert (status, refused["code"]) == (5, "approval_invalid")
    status, refused = first("call", NAME, "--confirm", approval, given=wipe | {"level": "quick"})
    assert (status, refused["code"]) == (5, "plan_stale")
    assert first("call", NAME, "--confirm", approval, given=wipe)[0] == 0
    status, refused = first("call", NAME, "--confirm", approval, given=wipe)
    assert (status, refused["code"]) == (5, "approval_invalid")
    assert first("audit", "verify")[1]["verdict"] == "intact"


def test_break_glass_and_its_review(pair: Pair) -> None:
    first, other = pair.first, pair.other
    wipe = {"hosts": [_host_id(first)]}
    status, refused = first("call", NAME, "--break-glass", given=wipe)
    assert (status, refused["field"]) == (7, "reason")
    assert first("call", NAME, "--break-glass", "--reason", "fire", given=wipe)[0] == 0
    status, open_ones = other("reviews", "list", "--state", "open")
    [review] = open_ones["results"]
    assert (review["who"], review["reason"], review["may_close"]) == ("root", "fire", True)
    status, refused = first("reviews", "close", review["id"], "--note", "all well")
    assert (status, refused["code"]) == (3, "permission_denied")
    assert other("reviews", "close", review["id"], "--note", "looked at it")[0] == 0
    assert other("approvals", "count")[1]["reviews"] == 0


def test_mistakes(pair: Pair) -> None:
    first = pair.first
    wipe = {"hosts": [_host_id(first)]}
    status, refused = first("call", NAME, "--request-approval", given=wipe)
    assert (status, refused["field"]) == (2, "reason")
    status, refused = first("call", NAME, "--request-approval=yes", "--reason", "r", given=wipe)
    assert (status, refused["field"]) == (2, "request-approval")
    status, refused = first("call", "hosts.list", "--request-approval", "--reason", "r")
    assert (status, refused["field"]) == (2, "operation")
    status, refused = first("call", NAME, "--request-approval", "--reason", "r", given={"hosts": []})
    assert (status, refused["code"]) == (2, "empty_list")
    status, refused = first("approvals", "approve", "no-such-id", "--confirm", "yes")
    assert (status, refused["code"]) == (4, "object_not_found")
    assert first("call", NAME, "--plan", "--request-approval", given=wipe)[1]["rung"] == 4
    assert first("approvals", "list")[1]["count"] == 0


def _host_id(operator: Operator) -> int:
    hosts = operator("hosts", "list")[1]["results"]
    return int(next(host["id"] for host in hosts if host["name"] == "old-1"))
