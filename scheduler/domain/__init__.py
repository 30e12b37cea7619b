"""The words of the product as types: pure, with no clock, no randomness and no I/O.

Enter at `money` (exact CNY), `hardware` (classes and the catalogue), `states` (the life of a job and of an attempt)
and `reasons` (why, as stable codes with texts in Chinese and English).
"""
