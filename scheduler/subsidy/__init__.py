"""Voucher programmes: which part of a cost line a city may pay, under which dated rule, and why not where not. Pure.

A programme is data: one YAML file per dated, immutable version under `programmes/<programme>/<version>.yaml`, every rule of
it with the words it rests on. The story of one line:

1. `document`   `load_document`: the YAML of cases and policies
2. `facts`      `parse_case`: what is known of applicant, provider, contract, model and spend; what is not known is None
3. `programme`  `parse_policy`, `shipped_policies`, `applicable`: the versions, and which of them decides on a day
4. `tagging`    `judge` a spend under a version -> `Ruling` (status, reasons, rate); `tag_line` puts an amount to it and draws
                on the limits; `select` picks at most one programme
5. `batch`      `tag_batch`: many lines of one ruling at once, on arrays, exactly as one after the other
6. `evaluation` `evaluate`: a whole case, all programmes, at most one selected, one claim on a contract where a rule says so
7. `trace`      how a tag came about, step by step, for people
8. `reasons`    every code a tag can carry, with its text in zh and en
9. `elsewhere`  schemes that pay for something else than a job's cost; `schema`: cases and versions as JSON Schema

Unknown is never guessed: a rule that needs a fact nobody gave makes the line `needs_review` and names the fact.
"""
