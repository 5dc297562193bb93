"""The protocol that `CpuGpuEvent` replaces, failing in each of the ways that its two locks allow.

The scenarios are those of the folder above, with `SeedEvent` as the class under test.

    $ cpugpu stress stress/racy/stress_seed.py --stress-seconds=30
"""

from __future__ import annotations

from stress.stress_driver_fails import record_fails, wait_fails
from stress.stress_reuse import next_record
from stress.stress_rule_breakers import two_consumers, two_producers
from stress.subjects import SeedEvent

p1_next_record = next_record.on(SeedEvent, racy=True, module=__name__)
p2_record_fails = record_fails.on(SeedEvent, racy=True, module=__name__)
p3_wait_fails = wait_fails.on(SeedEvent, racy=True, module=__name__)
p4_p5_two_consumers = two_consumers.on(SeedEvent, racy=True, module=__name__)
p6_two_producers = two_producers.on(SeedEvent, racy=True, module=__name__)
