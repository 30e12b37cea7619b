"""Voucher programmes: which part of a cost line a city may pay, under which dated rule, and why not where not. Pure.

A programme is data: one YAML file per dated, immutable version under `programmes/<programme>/<version>.yaml`, every rule of
it with the words it rests on. The story of one line:

1. `document`   `load_document`: the YAML of cases and policies
2. `facts`      `parse_case`: what is known of applicant, provider, contract, model and spend; what is not known is None
3. `programme`  `parse_policy`, `shipped_policies`, `applicable`: the versions, and which of them decides on a day
4. `tagging`    `judge` a spend under a version -> `Ruling` (status, reasons, rate); `tag_line` puts an amount to it and draws
                on the caps; `select` picks at most one programme; `evaluate` does all of it for a whole case
5. `reasons`    every code a tag can carry, with its text in zh and en

Unknown is never guessed: a rule that needs a fact nobody gave makes the line `needs_review` and names the fact.
"""
