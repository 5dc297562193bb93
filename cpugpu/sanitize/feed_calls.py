"""The part of the model that is about work that ends, and about who then waits at a queue in vain.

Who has waited in vain for somebody that is dead may be told in another way (a flag, a future, another item), and so may
whoever has sent it to wait. So what is found is kept until the watch ends. Not only news of the death will do: any news
of another thread's may be "it is time to stop". Tasks that one thread of a pool's does know of each other.
"""

from __future__ import annotations

from cpugpu.sanitize.clocks import Actor, tick
from cpugpu.sanitize.core import Core, entry
from cpugpu.sanitize.feeds import Ask, Feed, Put, Work
from cpugpu.sanitize.places import Place, RawPlace
from cpugpu.sanitize.registry import Unanswered

_Where = RawPlace | Place | None
#: So many waits in vain are kept.
_MOST = 1000


class FeedCalls(Core):
    """Items that are put and waited for; the end of a thread, of a task, of the program."""

    unanswered: list[tuple[Actor, Ask]]

    @entry
    def put(self, thread: Actor, feed: Feed, handling: int = 0) -> None:
        """`thread` puts an item, after the `release` of it, while it handles the exception with that `id`."""
        work: Work = thread.work or Work()
        thread.work = work
        feed.add(Put(thread, work, handling))

    def asks(self, thread: Actor, feed: Feed, place: _Where = None) -> None:
        """`thread` begins to wait for an item."""
        thread.asks = Ask(feed, place)

    def got(self, thread: Actor, feed: Feed) -> None:
        """And has it."""
        if thread.asks is not None and thread.asks.feed is feed:
            thread.asks = None

    @entry
    def in_vain(self, thread: Actor) -> None:
        """Or its time is out."""
        self._in_vain(thread)

    @entry
    def work_ended(self, thread: Actor, error: str = "", place: _Where = None, number: int = 0) -> None:
        """`thread` has ended, or has done a task. It died of `error`, of that `id`, which was raised at `place`."""
        ask: Ask | None = thread.asks
        thread.asks = None
        if ask is not None and ask.put is not None and len(self.unanswered) < _MOST:
            self.unanswered.append((thread, ask))
        work: Work | None = thread.work
        if work is not None:
            tick(thread)
            work.ended, work.error, work.place, work.epoch, work.number = True, error, place, thread.count, number
            thread.work = None

    @entry
    def watch_ended(self) -> None:
        """Who has waited in vain and is at an end has been told of nothing."""
        for thread, ask in self.unanswered:
            self._judge(thread, ask)
        self.unanswered.clear()

    @entry
    def program_ended(self, waiting: list[Actor]) -> None:
        """Nobody will be told of anything any more; `waiting`: those of the threads that are left that count."""
        for thread in waiting:
            if thread.asks is not None and thread.asks.put is None:
                self._in_vain(thread)
            if thread.asks is not None:
                self._judge(thread, thread.asks)

    def _in_vain(self, thread: Actor) -> None:
        ask: Ask | None = thread.asks
        put = ask.feed.dead() if ask is not None else None
        if ask is None or put is None or put.death_known_to(thread):
            thread.asks = None
        else:
            thread.asks = ask._replace(put=put, items=ask.feed.items)

    def _judge(self, thread: Actor, ask: Ask) -> None:
        put = ask.put
        if put is not None and not put.tells and ask.items == ask.feed.items:
            self.found_taking(Unanswered(thread, put), ask.place)
