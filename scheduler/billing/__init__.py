"""What it cost: prices over time, card-seconds into exact lines, lines into a hash chain. Pure.

Enter at `metering.meter(usage, book, boundaries, carried) -> lines`; `pricebook.PriceBook` says what a second costs when, and
`journal` makes and checks the chain that the ledger verifies.
"""
