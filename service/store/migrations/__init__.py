"""The database's schema, step by step. A released step never changes; `tests/test_store_migrations.py` holds their sum to `service.store.tables`."""
