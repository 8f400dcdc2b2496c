"""The history of the ledger's database. Run at start by `edgefleet.store.db`; knows nothing of its contents."""
