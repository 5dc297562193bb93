"""The rules, a module for each kind. Importing this registers all of them."""

from cpugpu.debug.rules import hand_off, life, streams, timing
from cpugpu.debug.rules.registry import RULES, Checks, Moment, Rule, broken, rules_at, steady

__all__ = ["RULES", "Checks", "Moment", "Rule", "broken", "hand_off", "life", "rules_at", "steady", "streams", "timing"]
