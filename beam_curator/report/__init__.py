"""The report of a finished job: one page that opens anywhere, and its figures as JSON; all from the ledger."""
