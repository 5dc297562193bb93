"""The part of the model that is about work that ends, and about who then waits at a queue for ever.

Whether somebody that waits in vain is told in another way (a flag, a join, a future) is known when its own work ends,
or the program does, and is looked at then. It need not be told of the death: any news of another thread's will do, "it
is time to stop" among them. Tasks that one thread of a pool's does know of each other.
"""

from __future__ import annotations

from cpugpu.sanitize.clocks import Actor, tick
from cpugpu.sanitize.core import Core, entry
from cpugpu.sanitize.feeds import Ask, Feed, Put, Work
from cpugpu.sanitize.places import Place, RawPlace
from cpugpu.sanitize.registry import Unanswered

_Where = RawPlace | Place | None


class FeedCalls(Core):
    """Items that are put and waited for; the end of a thread, of a task, of the program."""

    @entry
    def put(self, thread: Actor, feed: Feed) -> None:
        """`thread` puts an item. After the `release` of the item."""
        work: Work = thread.work or Work()
        thread.work = work
        feed.add(Put(thread, thread.count, work))
        tick(thread)  # who gets the item does not know what this thread does from now on

    def asks(self, thread: Actor, feed: Feed, place: _Where = None) -> None:
        """`thread` begins to wait for an item."""
        thread.asks = Ask(feed, place)

    def got(self, thread: Actor) -> None:
        """And has it."""
        thread.asks = None

    @entry
    def work_ended(self, thread: Actor, error: str = "", place: _Where = None) -> None:
        """`thread` has ended, or has done a task; it died of `error`, which was raised at `place`, if there is one."""
        self._judge(thread)
        work: Work | None = thread.work
        if work is not None:
            work.ended, work.error, work.place = True, error, place
            thread.work = None

    @entry
    def program_ended(self) -> None:
        """Nobody will be told of anything any more."""
        for thread in list(self.actors.threads):
            self._judge(thread)

    def _judge(self, thread: Actor) -> None:
        ask: Ask | None = thread.asks
        thread.asks = None
        put = ask.feed.dead() if ask is not None else None
        if ask is not None and put is not None and not thread.knows(put.thread, put.epoch + 1):
            self.found_taking(Unanswered(thread, put), ask.place)
