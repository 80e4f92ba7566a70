"""Replication: every number of the book that is not live, from one command each, and what they say of the paper's claim.

`profiles` are budgets, a `study` trains and remembers, `reproduce` fills the paper's table, `ablations`, `beyond`, `unlabelled` and `transfer` are further
experiments, `published` finds results files, and `verdict` reads them.
"""
