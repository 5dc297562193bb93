"""Why the sanitizer finds nothing in some mutants of the event: they take no order away, or not in every run.

Most of them are given away by an outcome all the same: a wait that lasts for ever, a call that raises.
"""

from __future__ import annotations

from collections.abc import Mapping

_FOR_EVER = "a wait lasts for ever: nobody looks at anything"
_REFUSED = "a record is refused that should have been let in: more order, not less"

#: By the names of the mutants.
UNORDERED: Mapping[str, str] = {
    "failure-not-handed-over": _FOR_EVER,
    "generation-not-counted": "a number is wrong; where each record comes after the last wait, each wait has its own",
    "slot-read-late": "it takes an interleaving: the producer comes in between two lines of the consumer; where it"
    " does not, the calls and their order are those of the code as it is",
    "room-after-gpu-wait": _REFUSED,
    "ending-overlooked": "it takes an interleaving: fail() between two lines of the consumer, whose wait lasts for ever"
    " then",
    "wait-not-put-back": _FOR_EVER,
    "recording-does-not-fail": _FOR_EVER,
    "failure-told-twice": "a wait raises once more, and none returns by it",
    "fail-reopens": "the state after close(): a call does not raise what it should",
    "close-wakes-nobody": _FOR_EVER,
    "pending-stays": "who polls `pending` goes on too late or never, and it is no order to rely on",
    "timeout-returns": "the wait goes on without the token, and raises a few lines later",
    "stall-adds-to-timeout": "it is about time alone: no order is missing",
    "token-lost-on-ctrl-c": "it takes a signal between two bytecodes; what is lost is the token, and no order",
    "synchronize-timeout-keeps-token": _FOR_EVER,
    "failure-stays": _REFUSED,
    "closed-for-one": "it takes two threads that block when the end comes, after which there is nothing to order",
    "put-back-over-a-newer-record": "it takes a second consumer at that moment; who gets the record twice is ordered"
    " after it twice",
    "put-back-not-replaceable": _REFUSED,
    "failure-not-replaceable": _REFUSED,
    "failure-overtakes-record": "the record is dropped, and its wait raises: nobody looks at anything",
}
