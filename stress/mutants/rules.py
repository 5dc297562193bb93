"""Mutants of the debug rules, of what they know, and of when they are asked."""

from __future__ import annotations

from stress.mutants.mutant import Mutant

_HAND_OFF = "cpugpu.debug.rules.hand_off"
_LIFE = "cpugpu.debug.rules.life"
_STREAMS = "cpugpu.debug.rules.streams"
_TIMING = "cpugpu.debug.rules.timing"
_EVENT = "cpugpu.debug.event:InstrumentedEvent"

RULES = (
    Mutant(
        "double-record-negated",
        "rules",
        f"{_HAND_OFF}:double_record",
        """
        -if not state.pending or state.closed:
        +if state.pending or state.closed:
             return None
        """,
        "double-record fires where nothing is pending, and only there.",
    ),
    Mutant(
        "consumed-record-has-a-fence",
        "rules",
        f"{_HAND_OFF}:record_on_other_stream",
        """
        -if not state.held or last is None or last.stream is None or operation.stream in (None, last.stream):
        +if last is None or last.stream is None or operation.stream in (None, last.stream):
             return None
        """,
        "record-on-other-stream fires although the last record was consumed.",
    ),
    Mutant(
        "stale-generation-one-sided",
        "rules",
        f"{_HAND_OFF}:stale_generation",
        """
        -if expected is not None and operation.generation != expected:
        +if expected is not None and operation.generation > expected:
             return (
        """,
        "stale-generation does not see the generation of an earlier batch.",
    ),
    Mutant(
        "parts-never-free",
        "rules",
        f"{_HAND_OFF}:_other",
        """
        -return bound is not None and bound is not operation.thread and alive(bound)
        +return bound is not None and bound is not operation.thread
        """,
        "second-producer and second-consumer fire when a thread takes over from one that has ended.",
    ),
    Mutant(
        "consumer-not-bound",
        "rules",
        "cpugpu.debug.state:EventState.bind",
        """
         elif operation.kind in _WAITS:
        -    self.consumer = operation.thread
        +    pass
        """,
        "Nobody ever has the part of the consumer.",
    ),
    Mutant(
        "end-told-at-once",
        "rules",
        f"{_HAND_OFF}:wait_after_close",
        """
        -if state.closed and state.consumer_told is operation.thread:
        +if state.closed:
             return f"{operation.thread_name} waits for {state.name!r}, which is closed, as an earlier wait was told"
        """,
        "wait-after-close fires at the first wait by which a thread learns of the end.",
    ),
    Mutant(
        "hot-loop-off-by-one",
        "rules",
        f"{_HAND_OFF}:poisoned_wait",
        """
        -if state.held and state.failed_waits >= _HOT_LOOP and state.failed_generation == state.generation:
        +if state.held and state.failed_waits > _HOT_LOOP and state.failed_generation == state.generation:
             return (
        """,
        "poisoned-wait fires at the fifth attempt instead of the fourth.",
    ),
    Mutant(
        "never-consumed-off-by-one",
        "rules",
        f"{_HAND_OFF}:never_consumed",
        """
        -if last is None or last.generation <= state.consumed or state.consumer_told is not None:
        +if last is None or last.generation < state.consumed or state.consumer_told is not None:
             return None
        """,
        "never-consumed fires although the last record was consumed.",
    ),
    Mutant(
        "old-payload-accepted",
        "rules",
        f"{_HAND_OFF}:payload_generation",
        """
        -if not operation.generation or stamped == operation.generation:
        +if not operation.generation or stamped:
             return None
        """,
        "payload-generation accepts the payload of an earlier generation.",
    ),
    Mutant(
        "self-wait-one-sided",
        "rules",
        f"{_HAND_OFF}:self_wait",
        """
        -elif state.producer is operation.thread:
        +elif state.consumer is operation.thread:
             return f"{operation.thread_name} waits for {state.name!r}, which it records itself"
        """,
        "self-wait takes every consumer that waits again for one that waits for itself.",
    ),
    Mutant(
        "timeout-counts-as-endless",
        "rules",
        f"{_LIFE}:producer_died",
        """
        -if operation.timeout is not None:
        -    return None
        """,
        "producer-died fires for a wait that will end by itself, for it has a timeout.",
        "a thread stalls after a minute, and the hammer leaves that setting alone; the engine `rules` sets 0.2 s",
    ),
    Mutant(
        "slow-producer-counts-as-dead",
        "rules",
        f"{_LIFE}:producer_died",
        """
        -if operation.ready_ns or state.held or state.closed or producer is None or alive(producer):
        +if operation.ready_ns or state.held or state.closed or producer is None:
             return None
        """,
        "producer-died fires when a living producer takes longer than CPUGPU_STALL_SECONDS.",
        "a thread stalls after a minute, and the hammer leaves that setting alone; the engine `rules` sets 0.2 s",
    ),
    Mutant(
        "cycle-of-two-overlooked",
        "rules",
        f"{_LIFE}:cross_thread_cycle",
        """
        -return f"deadlock: {describe_cycle(operation.cycle)} [{state.name!r}]" if operation.cycle else None
        +return f"deadlock: {describe_cycle(operation.cycle)} [{state.name!r}]" if len(operation.cycle) > 2 else None
        """,
        "cross-thread-cycle does not see two threads that wait for each other.",
    ),
    Mutant(
        "teardown-negated",
        "rules",
        f"{_LIFE}:teardown_while_waiting",
        """
        -if not operation.detail:
        +if operation.detail:
             return None
        """,
        "teardown-while-waiting fires when nobody waits, and only then.",
    ),
    Mutant(
        "captured-wait-overlooked",
        "rules",
        f"{_STREAMS}:wait_inside_capture",
        """
        -if operation.capture:
        +if operation.capture and operation.kind is Kind.RECORD:
             verb = "records" if operation.kind is Kind.RECORD else "waits for"
        """,
        "wait-inside-capture sees records and no waits.",
    ),
    Mutant(
        "own-capture-counts-as-foreign",
        "rules",
        f"{_STREAMS}:captured_event_outside",
        """
        -if handed is None or not handed.capture or handed.capture == operation.capture:
        +if handed is None or not handed.capture:
             return None
        """,
        "captured-event-outside fires for a hand-off within one capture.",
        "the program that shows it breaks wait-inside-capture first, so that its thread is stopped in `raise` mode",
    ),
    Mutant(
        "right-device-counts-as-wrong",
        "rules",
        f"{_STREAMS}:thread_on_wrong_device",
        """
        -if sight is None or sight.device_index == sight.current_index or sight.device_index < 0:
        +if sight is None or sight.device_index != sight.current_index or sight.device_index < 0:
             return None
        """,
        "thread-on-wrong-device fires for a thread that is on the right device, and only then.",
    ),
    Mutant(
        "blocking-counts-as-slow",
        "rules",
        f"{_TIMING}:slow_driver_call",
        """
        -since = operation.begin_ns if operation.kind is Kind.RECORD else operation.ready_ns
        +since = operation.begin_ns
         if not since or operation.end_ns - since < _SLOW_NS:
        """,
        "slow-driver-call takes the time that a wait has blocked for its record for time in the driver.",
        "what is a matter of speed is reported and never raised, so that no scenario comes out otherwise",
    ),
    Mutant(
        "late-wait-counts-as-early",
        "rules",
        f"{_TIMING}:device_order",
        """
        -if lead is None or -lead <= error:
        +if lead is None or lead <= error:
             return None
        """,
        "device-order fires where the device went on after the record, and only there.",
    ),
    Mutant(
        "short-cut-too-short",
        "rules",
        "cpugpu.debug.rules.registry:steady",
        """
        -return state.producer is thread and state.consumer is not thread and not state.held and not state.closed
        +return state.producer is thread and state.consumer is not thread and not state.closed
        """,
        "The short cut lets a record pass although the last one is unconsumed: no rule is asked.",
    ),
    Mutant(
        "replaceable-counts-as-pending",
        "rules",
        f"{_EVENT}.look",
        """
        -state.pending = held and not self._returning and self._returned != self._generation
        +state.pending = held
        """,
        "double-record fires for a record that replaces what a raising wait has left.",
    ),
    Mutant(
        "generation-one-behind",
        "rules",
        "cpugpu.debug.probe:Probe.record",
        """
         self._state.last_record = operation
        +operation.generation -= 1
        """,
        "The journal counts records from 0, and the rules with it.",
    ),
    Mutant(
        "handed-rules-at-the-wrong-moment",
        "rules",
        f"{_EVENT}.handed_over",
        """
        -    self._judge(_AT_HANDED, operation)
        +    self._judge(_AT_BEGIN, operation)
        """,
        "When a wait has its record, the rules for the beginning of a call are asked, once more.",
    ),
)
